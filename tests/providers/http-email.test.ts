import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMailgunProvider } from '../../workers/email/mailgun.ts';
import { createSendgridProvider } from '../../workers/email/sendgrid.ts';
import { startMailgunFake, type MailgunFake } from '../fakes/mailgun.ts';
import { startSendgridFake, type SendgridFake } from '../fakes/sendgrid.ts';
import { toEmailMessage } from './email-message.ts';

const FROM = { name: 'Herald', address: 'no-reply@example.com' };

const soon = () => AbortSignal.timeout(5_000);

describe('SendGrid', () => {
  let fake: SendgridFake;
  beforeAll(async () => {
    fake = await startSendgridFake();
  });
  afterAll(() => fake.stop());

  test('its check wants a key that may send', async () => {
    const provider = createSendgridProvider({ apiKey: fake.apiKey, baseUrl: fake.url, from: FROM, timeoutMs: 5_000 });
    fake.scopes.splice(0, Infinity, 'stats.read');
    await expect(provider.check(soon())).rejects.toThrow(/SENDGRID_API_KEY may not send. Give it .*Mail Send/);
    await provider.stop();
  });

  test('its fake refuses a field that SendGrid does not have', async () => {
    const response = await fetch(`${fake.url}/v3/mail/send`, {
      method: 'POST',
      headers: { authorization: `Bearer ${fake.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        personalizations: [{ to: [{ email: 'ada@example.com' }] }],
        from: { email: 'no-reply@example.com' },
        subject: 'Hello',
        content: [{ type: 'text/plain', value: 'Hello' }],
        priority: 'high',
      }),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      errors: [{ message: expect.stringContaining('priority'), field: '', help: null }],
    });
    expect(fake.accepted('ada@example.com')).toEqual([]);
  });
});

describe('Mailgun', () => {
  let fake: MailgunFake;
  const toProvider = (fields: { apiKey?: string; domain?: string } = {}) =>
    createMailgunProvider({
      apiKey: fields.apiKey ?? fake.apiKey,
      domain: fields.domain ?? fake.domain,
      baseUrl: fake.url,
      from: FROM,
      timeoutMs: 5_000,
    });
  beforeAll(async () => {
    fake = await startMailgunFake();
  });
  afterAll(() => fake.stop());

  test('its check is content with a key that may do nothing but send', async () => {
    const provider = toProvider({ apiKey: fake.sendingKey });
    await expect(provider.check(soon())).resolves.toBeUndefined();
    await provider.stop();
  });

  test('its check wants a domain of the account', async () => {
    const provider = toProvider({ domain: 'elsewhere.example' });
    await expect(provider.check(soon())).rejects.toThrow(/404 .*MAILGUN_DOMAIN/);
    await provider.stop();
  });

  test('its check wants a domain that is verified', async () => {
    fake.state.of = 'unverified';
    const provider = toProvider();
    await expect(provider.check(soon())).rejects.toThrow(/mg.example.com is unverified. Add its DNS records/);
    await provider.stop();
  });

  test('its fake refuses a parameter that Mailgun does not have', async () => {
    const body = new FormData();
    for (const [name, value] of Object.entries({
      from: 'a@example.com',
      to: 'b@example.com',
      text: 'x',
      priority: '1',
    }))
      body.append(name, value);
    const response = await fetch(`${fake.url}/v3/${fake.domain}/messages`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`api:${fake.apiKey}`).toString('base64')}` },
      body,
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ message: expect.stringContaining('priority') });
  });
});

describe.each([
  ['sendgrid', (baseUrl: string) => createSendgridProvider({ apiKey: 'SG.x', baseUrl, from: FROM, timeoutMs: 500 })],
  [
    'mailgun',
    (baseUrl: string) =>
      createMailgunProvider({ apiKey: 'key-x', domain: 'mg.example.com', baseUrl, from: FROM, timeoutMs: 500 }),
  ],
])('%s', (_name, createProvider) => {
  test.each([
    ['never makes the connection', 'https', () => {}, 'transient'],
    ['cuts the connection while it is made', 'https', (socket: Socket) => socket.resetAndDestroy(), 'transient'],
    [
      'cuts the connection in the middle of the request',
      'http',
      (socket: Socket) => socket.once('data', () => socket.resetAndDestroy()),
      'unknown',
    ],
    ['speaks another protocol', 'http', (socket: Socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'), 'unknown'],
  ])('a server that %s', async (_title, protocol, onConnection: (socket: Socket) => unknown, expected) => {
    const server = createServer((socket) => {
      sockets.push(socket.on('error', () => {}));
      onConnection(socket);
    });
    const sockets: Socket[] = [];
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const provider = createProvider(`${protocol}://127.0.0.1:${(server.address() as AddressInfo).port}`);

    const outcome = await provider.send(toEmailMessage({ html: 'long '.repeat(40_000) }), {
      notificationId: randomUUID(),
      signal: soon(),
    });
    expect(outcome).toMatchObject({ class: expected, reason: expect.stringMatching(/./) });
    expect(sockets).toHaveLength(1);

    await provider.stop();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
});
