import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createGmailProvider } from '../../workers/email/gmail.ts';
import { createSmtpProvider } from '../../workers/email/smtp.ts';
import { createCertificate } from '../fakes/certificate.ts';
import { startGmailFake } from '../fakes/gmail.ts';
import { startScriptedSmtp, type ScriptedSmtp } from '../scripted-smtp.ts';
import { toEmailMessage } from './email-message.ts';
import { verifyDkim } from './verify-dkim.ts';

const FROM = { name: 'Herald', address: 'no-reply@exämple.com' };

const context = (notificationId: string = randomUUID()) => ({ notificationId, signal: AbortSignal.timeout(10_000) });

const toProvider = (url: string, options: Partial<Parameters<typeof createSmtpProvider>[0]> = {}) =>
  createSmtpProvider({ url, from: FROM, connections: 3, timeoutMs: 10_000, dkim: null, ca: null, ...options });

describe('an SMTP server', () => {
  let server: ScriptedSmtp;
  beforeEach(async () => {
    server = await startScriptedSmtp();
  });
  afterEach(() => server.stop());

  test('gets internationalised domains as DNS knows them, and a local part as it is', async () => {
    const provider = toProvider(server.url);
    await provider.send(toEmailMessage({ to: { name: '', address: 'ada@bücher.example' } }), context());
    expect(server.envelopes()[0]).toMatch(/^MAIL FROM:<no-reply@xn--exmple-cua\.com>/);
    expect(server.envelopes()[1]).toBe('RCPT TO:<ada@xn--bcher-kva.example>');
    await provider.stop();
  });

  test('that takes a mail with many words is the reason up to 8,000 characters', async () => {
    const provider = toProvider(server.url);
    const message = toEmailMessage();
    server.script(message.to.address, { toMessage: `250 2.0.0 ${'very '.repeat(4_000)}well` });
    const { class: outcomeClass, reason } = await provider.send(message, context());
    expect(outcomeClass).toBe('accepted');
    expect(reason).toHaveLength(8_000);
    await provider.stop();
  });

  test('that hung up on idle connections gets the next mail on a new one, or it is transient; never unknown', async () => {
    const provider = toProvider(server.url);
    const message = toEmailMessage();
    expect((await provider.send(message, context())).class).toBe('accepted');
    server.hangUp();
    const outcomes = [await provider.send(message, context()), await provider.send(message, context())];
    expect(['accepted', 'transient']).toContain(outcomes[0]?.class);
    expect(outcomes[1]?.class).toBe('accepted');
    await provider.stop();
  });

  test('gets mail signed with DKIM, the list headers too', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const dkim = { domain: 'exämple.com', selector: 's1', privateKey: toPem(privateKey) };
    const provider = toProvider(server.url, { dkim });
    const message = toEmailMessage({ unsubscribeUrl: `https://herald.example/u/${'t'.repeat(120)}` });
    expect((await provider.send(message, context())).class).toBe('accepted');
    const [source = ''] = server.sources(message.to.address);
    const signed = verifyDkim(source, publicKey);
    expect(signed).toEqual(
      expect.arrayContaining(['from', 'to', 'subject', 'list-unsubscribe', 'list-unsubscribe-post']),
    );
    expect(source).toMatch(/d=xn--exmple-cua\.com/);
    await provider.stop();
  });

  test.each([
    ['no key', () => 'nonsense', /DKIM_PRIVATE_KEY is not a private key/],
    ['a key of another kind', () => toPem(generateKeyPairSync('ed25519').privateKey), /must be an RSA key/],
  ])('gets nothing when DKIM has %s: an unsigned mail would go out', async (_title, createKey, fault) => {
    const dkim = { domain: 'example.com', selector: 's1', privateKey: createKey() };
    const provider = toProvider(server.url, { dkim });
    const message = toEmailMessage();
    expect(await provider.send(message, context())).toMatchObject({
      class: 'configuration',
      reason: expect.stringMatching(fault),
    });
    await expect(provider.check(AbortSignal.timeout(5_000))).rejects.toThrow(fault);
    expect(server.requests(message.to.address)).toBe(0);
    await provider.stop();
  });

  test('can be checked in vain for no longer than one wants', async () => {
    const silent = await startRaw(() => {});
    const provider = toProvider(silent.url);
    await expect(provider.check(AbortSignal.timeout(200))).rejects.toThrow(/did not answer in time.*SMTP_URL/);
    await provider.stop();
    await silent.stop();
  });
});

describe('a server that fails before it could have a message', () => {
  test.each([
    ['greets with a 421', (socket: Socket) => socket.end('421 4.3.2 too many connections\r\n'), 'transient'],
    ['greets with a 554', (socket: Socket) => socket.end('554 5.7.1 you are on a list\r\n'), 'configuration'],
    ['hangs up at once', (socket: Socket) => socket.destroy(), 'transient'],
    ['never greets', () => {}, 'transient'],
    [
      'hangs up at the EHLO',
      (socket: Socket) => {
        socket.write('220 hello\r\n');
        socket.once('data', () => socket.resetAndDestroy());
      },
      'transient',
    ],
  ])('%s', async (_title, onConnection, expected) => {
    const server = await startRaw(onConnection);
    const provider = toProvider(server.url, { timeoutMs: 500 });
    const outcome = await provider.send(toEmailMessage(), context());
    expect(outcome).toMatchObject({ class: expected, reason: expect.stringMatching(/./) });
    expect(server.connections()).toBe(1);
    await provider.stop();
    await server.stop();
  });

  test('has a certificate that nobody vouches for', async () => {
    const server = await startScriptedSmtp({ certificate: await createCertificate() });
    const provider = toProvider(server.url);
    const message = toEmailMessage();
    expect(await provider.send(message, context())).toMatchObject({
      class: 'transient',
      reason: expect.stringMatching(/self-signed certificate/),
    });
    await provider.stop();
    await server.stop();
  });
});

describe("Gmail's tokens", () => {
  const start = async () => {
    const certificate = await createCertificate();
    const fake = await startGmailFake(certificate);
    const { user, clientId, clientSecret, refreshToken, tokenUrl } = fake;
    const provider = createGmailProvider({
      ...{ user, clientId, clientSecret, refreshToken, tokenUrl },
      smtpUrl: fake.smtp.url,
      from: FROM,
      connections: 5,
      timeoutMs: 10_000,
      ca: certificate.cert,
    });
    const stop = async () => {
      await provider.stop();
      await fake.stop();
    };
    return { fake, provider, stop };
  };

  test('are shared by all connections', async () => {
    const { fake, provider, stop } = await start();
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => provider.send(toEmailMessage(), context())));
    expect(outcomes.every((outcome) => outcome.class === 'accepted')).toBe(true);
    expect(fake.token.requests).toBe(1);
    await stop();
  });

  test('that are taken no more are renewed, without a second hand-over', async () => {
    const { fake, provider, stop } = await start();
    const message = toEmailMessage();
    await provider.check(AbortSignal.timeout(5_000));
    fake.revokeTokens();
    expect((await provider.send(message, context())).class).toBe('accepted');
    expect(fake.token.requests).toBe(2);
    expect(fake.smtp.requests(message.to.address)).toBe(1);
    await stop();
  });

  test.each([
    ['a refusal', { status: 400, body: { error: 'invalid_grant' } }, 'configuration'],
    ['a refusal of the client', { status: 401, body: { error: 'invalid_client' } }, 'configuration'],
    ['a failure', { status: 503, body: { error: 'backend_error' } }, 'transient'],
    ['too many requests', { status: 429, body: { error: 'rate_limit' } }, 'transient'],
    ['a page of a hotel', { status: 200, body: '<html>Welcome</html>' }, 'transient'],
    ['a cut connection', 'cut' as const, 'transient'],
  ])('that do not come: %s', async (_title, answer, expected) => {
    const { fake, provider, stop } = await start();
    fake.token.answer = answer;
    expect(await provider.send(toEmailMessage(), context())).toMatchObject({
      class: expected,
      reason: expect.stringMatching(/^no access token/),
    });
    await stop();
  });
});

const toPem = (key: { export(options: { type: 'pkcs8'; format: 'pem' }): string | Buffer }) =>
  key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** A server that speaks whatever `onConnection` writes. */
async function startRaw(onConnection: (socket: Socket) => unknown) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `smtp://127.0.0.1:${port}`,
    connections: () => sockets.length,
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
