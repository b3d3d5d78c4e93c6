import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readConfig as readGatewayConfig } from '../../gateway/config.ts';
import { ConfigError, count, logLevel, parseEnv, port, secret, serviceUrl, url } from '../../platform/env.ts';
import { keyRing } from '../../platform/tokens.ts';
import { readConfig as readNotificationConfig } from '../../subgraphs/notification/config.ts';
import { readConfig as readWorkerConfig } from '../../workers/config.ts';
import { mailFrom } from '../../workers/email/mail-from.ts';

const shape = {
  NAME: z.string().default('herald'),
  PORT: port(8000),
  COUNT: count(5, { min: 2, max: 10 }),
  DATABASE_URL: url('postgresql', 'postgres').describe('the URL of the database'),
  PEER_URL: serviceUrl('http://127.0.0.1:8001'),
  SECRET: secret('what callers sign with'),
  LOG_LEVEL: logLevel,
};
const required = { DATABASE_URL: 'postgres://u:p@host/db', SECRET: '0123456789abcdef' };

const faultsOf = (read: () => unknown): string[] => {
  try {
    read();
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
};

test('what is not set, or empty, has its default', () => {
  expect(parseEnv(shape, { ...required, PORT: '', NAME: undefined })).toEqual({
    ...required,
    NAME: 'herald',
    PORT: 8000,
    COUNT: 5,
    PEER_URL: 'http://127.0.0.1:8001',
    LOG_LEVEL: 'info',
  });
});

test('a secret may have every character that a header can carry', () => {
  const all = String.fromCharCode(...Array.from({ length: 94 }, (_, index) => 33 + index));
  expect(parseEnv(shape, { ...required, SECRET: all })).toMatchObject({ SECRET: all });
});

test('a key of JWT_KEYS ends where the next begins, whatever colons are in it', () => {
  const [first, second] = ['a:secret:with:colons:of:32:letters:', 'x'.repeat(32)];
  expect(parseEnv({ JWT_KEYS: keyRing }, { JWT_KEYS: `new:${first}, old:${second}` })).toEqual({
    JWT_KEYS: [
      { id: 'new', secret: first },
      { id: 'old', secret: second },
    ],
  });
  expect(faultsOf(() => parseEnv({ JWT_KEYS: keyRing }, { JWT_KEYS: second }))).toEqual([
    expect.stringContaining('JWT_KEYS is wrong'),
  ]);
});

test('text becomes numbers, and a base URL loses its slash', () => {
  const env = { ...required, PORT: '0', COUNT: '10', PEER_URL: 'https://peer.example/herald//' };
  expect(parseEnv(shape, env)).toMatchObject({ PORT: 0, COUNT: 10, PEER_URL: 'https://peer.example/herald' });
});

test.each([
  ['PORT', 'http', 'PORT is wrong: must be a port number, 0 to 65535'],
  ['PORT', '80.5', 'PORT is wrong: must be a whole number'],
  ['PORT', '65536', /^PORT is wrong: .*65535/],
  ['PORT', '-1', /^PORT is wrong: /],
  ['COUNT', '1', 'COUNT is wrong: must be at least 2'],
  ['COUNT', '11', 'COUNT is wrong: must be at most 10'],
  ['COUNT', 'many', 'COUNT is wrong: must be a number'],
  [
    'DATABASE_URL',
    'mysql://host/db',
    'DATABASE_URL is wrong: must be a URL that starts with postgresql:// or postgres://',
  ],
  ['DATABASE_URL', 'host/db', /^DATABASE_URL is wrong: must be a URL/],
  ['DATABASE_URL', '', 'DATABASE_URL is not set: the URL of the database'],
  ['PEER_URL', 'ftp://peer', /^PEER_URL is wrong: must be a URL that starts with http:\/\/ or https:\/\//],
  ['SECRET', 'short', 'SECRET is wrong: must have at least 16 characters'],
  ['SECRET', 'with a space in it', 'SECRET is wrong: must be printable ASCII without spaces'],
  ['SECRET', 'schlüssel-des-admins', 'SECRET is wrong: must be printable ASCII without spaces'],
  ['SECRET', 'a-line-break-in-it\n', 'SECRET is wrong: must be printable ASCII without spaces'],
  ['SECRET', undefined, 'SECRET is not set: what callers sign with'],
  ['LOG_LEVEL', 'loud', /^LOG_LEVEL is wrong: must be trace, debug/],
])('%s=%s: %s', (name, value, message) => {
  const faults = faultsOf(() => parseEnv(shape, { ...required, [name]: value }));
  expect(faults).toHaveLength(1);
  expect(faults[0]).toMatch(message);
});

test('every fault is told at once, each by its variable, and no value is told', () => {
  const faults = faultsOf(() => parseEnv(shape, { PORT: 'x', SECRET: 'hunter2', COUNT: '0' }));
  expect(faults.map((fault) => fault.split(' ')[0]).sort()).toEqual(['COUNT', 'DATABASE_URL', 'PORT', 'SECRET']);
  expect(faults.join()).not.toContain('hunter2');
});

describe('the services', () => {
  test.each([
    ['gateway', () => readGatewayConfig({})],
    ['notification', () => readNotificationConfig({})],
    ['worker', () => readWorkerConfig({}, 'email')],
  ])('the %s names each variable that it misses, once', (_, read) => {
    const names = faultsOf(read).map((fault) => /^([A-Z_]+) is not set: ./.exec(fault)?.[1]);
    expect(names.length).toBeGreaterThan(2);
    expect(names).not.toContain(undefined);
    expect(new Set(names).size).toBe(names.length);
  });

  const worker = {
    NOTIFICATIONS_DATABASE_URL: 'postgres://h/n',
    AMQP_URL: 'amqp://h',
    REDIS_URL: 'redis://h',
    USER_SECRET: '0123456789abcdef',
    WORKER_API_KEY: '0123456789abcdef',
    JWT_KEYS: 'one:0123456789abcdef0123456789abcdef',
    SMTP_URL: 'smtp://h',
  };

  test('a worker without a type says how to start it', () => {
    expect(faultsOf(() => readWorkerConfig(worker, undefined))).toEqual([expect.stringContaining('-- email')]);
    expect(faultsOf(() => readWorkerConfig(worker, 'sms'))).toEqual([expect.stringContaining('-- email')]);
  });

  const gateway = {
    ...Object.fromEntries(
      ['USER_SECRET', 'TEMPLATE_SECRET', 'NOTIFICATION_SECRET', 'ADMIN_API_KEY'].map((name) => [name, 'x'.repeat(16)]),
    ),
    ...worker,
  };

  test('a request takes less time at most than a stop', () => {
    expect(readGatewayConfig({ ...gateway, REQUEST_TIMEOUT_SECONDS: '25' }).requestTimeoutMs).toBe(25_000);
    expect(faultsOf(() => readGatewayConfig({ ...gateway, REQUEST_TIMEOUT_SECONDS: '26' }))).toEqual([
      'REQUEST_TIMEOUT_SECONDS is wrong: must be at most 25',
    ]);
  });

  test.each(['ONESIGNAL_WEBHOOK_SECRET', 'BOUNCE_WEBHOOK_SECRET'])('%s is such as a header can carry', (name) => {
    for (const [value, what] of [
      ['with a space in it', 'must be printable ASCII without spaces'],
      ['schlüssel-der-webhooks', 'must be printable ASCII without spaces'],
      ['short', 'must have at least 16 characters'],
    ] as const)
      expect(faultsOf(() => readGatewayConfig({ ...gateway, [name]: value }))).toEqual([`${name} is wrong: ${what}`]);
    expect(faultsOf(() => readGatewayConfig({ ...gateway, [name]: 'x'.repeat(16) }))).toEqual([]);
  });

  test('a provider may take half of the lease at most, and less than a worker has to stop', () => {
    const slow = { ...worker, LEASE_SECONDS: '600', PROVIDER_TIMEOUT_SECONDS: '26' };
    expect(faultsOf(() => readWorkerConfig(slow, 'email'))).toEqual([
      'PROVIDER_TIMEOUT_SECONDS is wrong: must be at most 25',
    ]);
    expect(faultsOf(() => readWorkerConfig({ ...slow, PROVIDER_TIMEOUT_SECONDS: '25' }, 'email'))).toEqual([]);
    const env = { ...worker, LEASE_SECONDS: '20', PROVIDER_TIMEOUT_SECONDS: '11' };
    expect(faultsOf(() => readWorkerConfig(env, 'email'))).toEqual([
      'PROVIDER_TIMEOUT_SECONDS is wrong: it must be at most half of LEASE_SECONDS (20)',
    ]);
    const enough = { ...env, PROVIDER_TIMEOUT_SECONDS: '10' };
    expect(readWorkerConfig(enough, 'email')).toMatchObject({ providerTimeoutMs: 10_000 });
  });

  test.each([
    [undefined, ['smtp']],
    ['sendgrid, smtp', ['sendgrid', 'smtp']],
  ])('EMAIL_PROVIDERS=%s are tried in the order %o', (EMAIL_PROVIDERS, expected) => {
    expect(readWorkerConfig({ ...worker, EMAIL_PROVIDERS }, 'email').providers).toEqual(expected);
  });

  test.each([
    ['EMAIL_PROVIDERS', 'smtp,fcm', /^EMAIL_PROVIDERS is wrong: must be a list of smtp, /],
    ['PUSH_PROVIDERS', 'sandbox,sandbox', /^PUSH_PROVIDERS is wrong: must name each provider once$/],
  ])('%s=%s is refused', (name, value, expected) => {
    expect(faultsOf(() => readWorkerConfig({ ...worker, [name]: value }, 'push'))).toEqual([
      expect.stringMatching(expected),
    ]);
  });

  test.each([
    [undefined, { name: 'Herald', address: 'herald@localhost' }],
    ['Shop <no-reply@shop.example>', { name: 'Shop', address: 'no-reply@shop.example' }],
    ['"The Shop" <no-reply@shop.example>', { name: 'The Shop', address: 'no-reply@shop.example' }],
    ['no-reply@shop.example', { name: '', address: 'no-reply@shop.example' }],
  ])('MAIL_FROM=%s is %o', (from, expected) => {
    expect(parseEnv({ MAIL_FROM: mailFrom }, { MAIL_FROM: from }).MAIL_FROM).toEqual(expected);
  });

  test('a MAIL_FROM without an address is refused by name', () => {
    expect(faultsOf(() => parseEnv({ MAIL_FROM: mailFrom }, { MAIL_FROM: 'The Shop' }))).toEqual([
      'MAIL_FROM is wrong: must be an address such as Herald <no-reply@example.com>',
    ]);
  });
});
