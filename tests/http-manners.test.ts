import { randomUUID } from 'node:crypto';
import { request } from 'undici';
import { afterEach, describe, expect, test } from 'vitest';
import { ADMIN } from '../contracts/scopes.ts';
import { signRequest } from '../platform/trust.ts';
import { document, operations, streams } from './rest/document.ts';
import { startHerald, type Herald, type HeraldOptions } from './start.ts';

const parts = ['user', 'template', 'notification', 'gateway'] as const;
const SENDS = '/api/v1/notifications/';

let herald: Herald | undefined;
afterEach(async () => {
  await herald?.stop();
  herald = undefined;
});
const start = async (options: HeraldOptions = {}) =>
  (herald = await startHerald({ broker: 'embedded', parts, ...options }));

test('every answer of every port forbids what a browser might do with it', async () => {
  const at = await start();
  const asked = parts.flatMap((part) =>
    ['/health', '/nothing', '/graphql', '/%ff'].map((path) => `${at.urlOf(part)}${path}`),
  );
  for (const url of [...asked, `${at.url}${SENDS}`, `${at.urlOf('user')}/api/v1/users/x`]) {
    const { headers, body } = await request(url);
    await body.dump();
    expect(headers, url).toMatchObject({
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'content-security-policy': expect.stringContaining("frame-ancestors 'none'"),
      'cache-control': 'no-store',
      'cross-origin-resource-policy': 'same-origin',
    });
  }
  const { headers, body } = await request(`${at.url}/graphql`, { headers: { accept: 'text/html' } });
  await body.dump();
  expect(headers['content-security-policy']).toMatch(/script-src 'self';/);
});

describe('a page of another origin', () => {
  const preflight = async (at: Herald, origin: string, asked = 'authorization,content-type') => {
    const { statusCode, headers, body } = await request(`${at.url}/graphql`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': asked,
      },
    });
    await body.dump();
    return { status: statusCode, headers };
  };

  test('may ask when its origin is named, without a credential for its preflight', async () => {
    const at = await start({ corsOrigins: ['https://app.example.com'], rates: { addressPerMinute: 1 } });
    for (let time = 0; time < 3; time += 1) {
      const { status, headers } = await preflight(at, 'https://app.example.com');
      expect(status).toBe(204);
      expect(headers).toMatchObject({
        'access-control-allow-origin': 'https://app.example.com',
        'access-control-allow-headers': expect.stringContaining('authorization'),
      });
      expect(headers['access-control-allow-credentials']).toBeUndefined();
    }
    const answer = await at.rest('GET', SENDS, undefined, { origin: 'https://app.example.com' });
    expect(answer.headers).toMatchObject({
      'access-control-allow-origin': 'https://app.example.com',
      'access-control-expose-headers': expect.stringContaining('retry-after'),
    });
    for (const origin of ['https://evil.example.com', 'https://app.example.com.evil.com', 'null'])
      expect((await preflight(at, origin)).headers['access-control-allow-origin'], origin).toBeUndefined();
  });

  test('may send and read every header that the REST paths know', async () => {
    const at = await start({ corsOrigins: ['https://app.example.com'] });
    const listed = (headers: Record<string, unknown>, name: string) => String(headers[name]).toLowerCase().split(', ');
    const taken = [...operations, ...streams].flatMap(({ operation: { parameters } }) =>
      parameters.filter((parameter) => parameter.in === 'header').map(({ name }) => name.toLowerCase()),
    );
    const sent = [...taken, 'if-none-match', 'x-request-id', 'x-correlation-id'];
    const { headers } = await preflight(at, 'https://app.example.com', sent.join(','));
    expect(listed(headers, 'access-control-allow-headers')).toEqual(expect.arrayContaining(sent));
    const answer = await at.rest('GET', SENDS, undefined, { origin: 'https://app.example.com' });
    const told = Object.keys(document.components.headers).map((name) => name.toLowerCase());
    expect(told).toContain('etag');
    expect(listed(answer.headers, 'access-control-expose-headers')).toEqual(expect.arrayContaining(told));
  });

  test('may not, when none is named', async () => {
    const at = await start();
    expect((await preflight(at, 'https://app.example.com')).headers['access-control-allow-origin']).toBeUndefined();
  });
});

describe('the address of a client', () => {
  const tryAs = async (at: Herald, address: string) =>
    (await at.rest('GET', SENDS, undefined, { authorization: 'Bearer wrong', 'x-forwarded-for': address })).status;

  test('is what a trusted proxy says', async () => {
    const at = await start({ trustedProxies: ['127.0.0.0/8'], rates: { addressPerMinute: 1 } });
    expect([await tryAs(at, '192.0.2.1'), await tryAs(at, '192.0.2.2'), await tryAs(at, '192.0.2.1')]).toEqual([
      401, 401, 429,
    ]);
  });

  test('is not what the client itself says', async () => {
    const at = await start({ rates: { addressPerMinute: 1 } });
    expect([await tryAs(at, '192.0.2.1'), await tryAs(at, '192.0.2.2')]).toEqual([401, 429]);
  });
});

type Callee = 'user' | 'template' | 'notification';

test('headers of ours that come from outside open nothing, and a request signed for one service nothing at another', async () => {
  const at = await start();
  const body = JSON.stringify({ query: '{ __typename users { edges { node { id } } } }' });
  const sign = (secret: string, callee: Callee) =>
    signRequest(
      { method: 'POST', path: '/graphql', body },
      { viewer: ADMIN, requestId: randomUUID() },
      { caller: 'gateway', callee },
      secret,
    );
  const services: Callee[] = ['user', 'template', 'notification'];
  for (const part of parts) {
    const forged = sign('a secret that nobody has given to anybody', part === 'gateway' ? 'user' : part);
    const post = async (headers: Record<string, string>) =>
      (await at.rest('POST', `${at.urlOf(part)}/graphql`, body, { authorization: undefined, ...headers })).status;
    expect(await post(forged), part).toBe(401);
    for (const other of services.filter((name) => name !== part)) {
      expect(await post(sign(at.secrets[other], other)), `${other}'s at ${part}`).toBe(401);
      if (part !== 'gateway')
        expect(await post(sign(at.secrets[part], other)), `${other}'s with the same secret at ${part}`).toBe(401);
    }
  }
  const mine = sign(at.secrets.user, 'user');
  const post = async () =>
    (await at.rest('POST', `${at.urlOf('user')}/graphql`, body, { authorization: undefined, ...mine })).status;
  expect([await post(), await post()], 'the same a second time').toEqual([200, 401]);
});
