import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:tls';
import { getApps } from 'firebase-admin/app';
import webPush from 'web-push';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceMessage, PushToken } from '../../contracts/message.ts';
import { PUSH_PAYLOAD_LIMIT_BYTES, toWebPushPayload } from '../../contracts/push-payload.ts';
import { isUuid } from '../../platform/text.ts';
import type { Provider, SendOutcome } from '../../workers/provider.ts';
import { createAgent, exchange } from '../../workers/exchange.ts';
import { createFcmProvider } from '../../workers/push/fcm.ts';
import { toIdempotencyKey } from '../../workers/push/onesignal.ts';
import { createSandboxProvider } from '../../workers/push/sandbox.ts';
import { createWebPushProvider } from '../../workers/push/webpush.ts';
import { createCertificate } from '../fakes/certificate.ts';
import { refuse } from '../fakes/fcm.ts';
import type { Step } from '../fakes/script.ts';
import { startFakeServer } from '../fakes/server.ts';
import { startWebPushFake, type PushedMessage, type WebPushFake } from '../fakes/web-push.ts';
import { createTestLogger, logged } from '../test-log.ts';
import {
  startDeadEnd,
  startFcmLane,
  startOneSignalLane,
  startWebPushLane,
  type FcmLane,
  type Lane,
} from './push-lanes.ts';
import { CONTENT, NEVER, toPushMessage } from './push-message.ts';

describe('fcm', () => {
  let lane: FcmLane;
  beforeAll(async () => {
    lane = await startFcmLane();
  });
  afterAll(() => lane.stop());

  const withProvider = async (use: (provider: Provider<DeviceMessage>) => Promise<void>) => {
    const provider = lane.create();
    try {
      await use(provider);
    } finally {
      await provider.stop();
    }
  };
  const send = (provider: Provider<DeviceMessage>, token = lane.newDevice()) =>
    provider.send(toPushMessage(token), { notificationId: randomUUID(), signal: NEVER });

  test('one access token serves many sends, also at once', () =>
    withProvider(async (provider) => {
      const before = lane.fake.tokenRequests();
      await Promise.all([send(provider), send(provider), send(provider)]);
      await send(provider);
      expect(lane.fake.tokenRequests() - before).toBe(1);
    }));

  test('a token that is refused is not used again', () =>
    withProvider(async (provider) => {
      const token = lane.newDevice();
      lane.script(token, refuse(401, 'UNAUTHENTICATED', 'Invalid credentials'), 'accept');
      expect(await send(provider, token)).toMatchObject({ class: 'configuration' });
      const before = lane.fake.tokenRequests();
      expect(await send(provider, token)).toMatchObject({ class: 'accepted' });
      expect(lane.fake.tokenRequests() - before).toBe(1);
    }));

  test.each<[string, Step, Partial<SendOutcome>]>([
    [
      'Google is overloaded',
      { status: 503, headers: { 'retry-after': '40' } },
      { class: 'transient', retryAfterSeconds: 40 },
    ],
    ['Google has a fault', { status: 500 }, { class: 'transient', retryAfterSeconds: 10 }],
    ['the connection breaks', 'reset_after', { class: 'transient', retryAfterSeconds: 10 }],
    ['the account is gone', { status: 400, body: { error: 'invalid_grant' } }, { class: 'configuration' }],
    ['the account is disabled', { status: 403, body: { error: 'disabled' } }, { class: 'configuration' }],
  ])('%s when a token is asked for: nothing is sent, and the next send asks again', (_, step, outcome) =>
    withProvider(async (provider) => {
      const token = lane.newDevice();
      lane.fake.scriptTokens(step, 'accept');
      expect(await send(provider, token)).toMatchObject({
        reason: expect.stringContaining('no access token'),
        ...outcome,
      });
      expect(lane.requests(token)).toBe(0);
      expect(await send(provider, token)).toMatchObject({ class: 'accepted' });
    }),
  );

  test('a send that is aborted before there is a token was not sent', () =>
    withProvider(async (provider) => {
      lane.fake.scriptTokens('hang');
      const token = lane.newDevice();
      const outcome = await provider.send(toPushMessage(token), { notificationId: 'n', signal: AbortSignal.abort() });
      expect(outcome).toMatchObject({ class: 'transient' });
      expect(lane.requests(token)).toBe(0);
      lane.fake.scriptTokens('accept');
    }));

  test('a link of an app, a long collapse key and times to live at their bounds go as it takes them', () =>
    withProvider(async (provider) => {
      const token = lane.newDevice();
      const changes = { link: 'shop://orders/7', collapseKey: 'ü'.repeat(50) };
      for (const ttlSeconds of [0, 1e9]) {
        const message = toPushMessage(token, { ...changes, ttlSeconds });
        const outcome = await provider.send(message, { notificationId: randomUUID(), signal: NEVER });
        expect(outcome).toMatchObject({ class: 'accepted' });
      }
      const [now, late] = lane.fake.accepted(token.token);
      expect(now).toMatchObject({
        data: { link: 'shop://orders/7' },
        android: { ttl: '0s', collapse_key: 'ü'.repeat(50) },
        apns: { headers: { 'apns-collapse-id': expect.stringMatching(/^[0-9a-f]{64}$/), 'apns-expiration': '0' } },
        webpush: { headers: { TTL: '0', Topic: expect.stringMatching(/^[\w-]{32}$/) } },
      });
      expect(now?.webpush).not.toHaveProperty('fcmOptions');
      expect(late).toMatchObject({ android: { ttl: '2419200s' }, webpush: { headers: { TTL: '2419200' } } });
    }));

  test.each([
    ['repeats what it was asked', (body: string) => ({ status: 400, body })],
    ['gives a token of no end', () => ({ status: 200, body: { access_token: 'eyJ.token', expires_in: 'never' } })],
  ])('a token server that %s: no secret is in the reason', async (_, answer) => {
    const server = await startFakeServer(({ body }) => answer(body.toString()));
    const serviceAccount = { ...lane.fake.serviceAccount, token_uri: `http://127.0.0.1:${server.port}` };
    const provider = createFcmProvider({
      serviceAccount,
      baseUrl: lane.fake.url,
      timeoutMs: 2_000,
      ca: null,
      log: createTestLogger('push-worker'),
    });
    const { reason } = await send(provider);
    expect(reason).toMatch(/^no access token: .*\[secret\]/);
    expect(reason).not.toMatch(/eyJ/);
    await provider.stop();
    await server.stop();
  });

  test('a check is a dry run', () =>
    withProvider(async (provider) => {
      await provider.check(NEVER);
      expect(lane.fake.dryRuns()).toEqual([{ topic: 'herald-check', notification: { title: 'Herald' } }]);
    }));

  test('a device of another sender is dead only once another has taken a message', () =>
    withProvider(async (provider) => {
      const foreign = lane.newDevice();
      lane.script(foreign, refuse(403, 'PERMISSION_DENIED', 'Mismatch', 'SENDER_ID_MISMATCH'));
      await provider.check(NEVER);
      expect(await send(provider, foreign)).toMatchObject({ class: 'configuration' });
      expect(await send(provider)).toMatchObject({ class: 'accepted' });
      expect(await send(provider, foreign)).toMatchObject({ class: 'address_dead' });
      expect(logged().filter(({ level }) => level === 'error')).toEqual([
        expect.objectContaining({ tokenId: foreign.id, project: 'herald-test' }),
        expect.objectContaining({ tokenId: foreign.id, project: 'herald-test' }),
      ]);
    }));
});

test('a stopped FCM provider leaves no app of firebase-admin behind', async () => {
  const lane = await startFcmLane();
  const before = getApps().length;
  const providers = [lane.create(), lane.create()];
  expect(getApps()).toHaveLength(before + 2);
  for (const provider of providers) await provider.stop();
  expect(getApps()).toHaveLength(before);
  await lane.stop();
});

describe('webpush', () => {
  let lane: Lane;
  let provider: Provider<DeviceMessage>;
  beforeAll(async () => {
    lane = await startWebPushLane();
    provider = lane.create();
  });
  afterAll(async () => {
    await provider.stop();
    await lane.stop();
  });

  const send = (token: PushToken) =>
    provider.send(toPushMessage(token), { notificationId: randomUUID(), signal: NEVER });
  const withToken = (token: string) => send({ id: randomUUID(), kind: 'webpush', token });

  test('a refusal before anyone took a message stops it once for each subscription', async () => {
    const own = lane.create();
    const sendBy = (token: PushToken) =>
      own.send(toPushMessage(token), { notificationId: randomUUID(), signal: NEVER });
    const [one, other] = [lane.newDevice(), lane.newDevice()];
    for (const token of [one, other]) lane.script(token, { status: 403, body: 'do not correspond' });
    expect(await sendBy(one)).toMatchObject({ class: 'configuration' });
    expect(await sendBy(one)).toMatchObject({ class: 'permanent', reason: '403 do not correspond' });
    expect(await sendBy(other)).toMatchObject({ class: 'configuration' });
    expect(await sendBy(other)).toMatchObject({ class: 'permanent' });
    await own.stop();
  });

  test('keys that one service has taken are good at all others', async () => {
    const certificate = await createCertificate();
    const services = [await startWebPushFake(certificate), await startWebPushFake(certificate)] as const;
    const keys = webPush.generateVAPIDKeys();
    const own = createWebPushProvider({
      ...{ ...keys, subject: 'mailto:ops@example.com', timeoutMs: 2_000, ca: certificate.cert },
      allowedHosts: services.map(({ host }) => host),
    });
    const sendTo = ({ subscribe }: WebPushFake, publicKey: string) => {
      const token = { id: randomUUID(), kind: 'webpush' as const, token: subscribe(publicKey).subscription };
      return own.send(toPushMessage(token), { notificationId: randomUUID(), signal: NEVER });
    };
    expect(await sendTo(services[0], keys.publicKey)).toMatchObject({ class: 'accepted' });
    expect(await sendTo(services[1], webPush.generateVAPIDKeys().publicKey)).toMatchObject({ class: 'permanent' });
    await own.stop();
    for (const { stop } of services) await stop();
  });

  test('a refusal by a service that took our messages is about the one subscription', async () => {
    const stale = lane.newDevice();
    lane.script(stale, { status: 403, body: 'do not correspond' });
    expect(await send(stale)).toMatchObject({ class: 'configuration' });
    expect(await send(lane.newDevice())).toMatchObject({ class: 'accepted' });
    expect(await send(stale)).toMatchObject({ class: 'permanent', reason: '403 do not correspond' });
  });

  test.each([
    ['no JSON', 'APA91bHun4MxP5egoKMwt2KZFBaFUH'],
    ['no endpoint', JSON.stringify({ keys: { p256dh: 'BA', auth: 'AA' } })],
    ['no keys', JSON.stringify({ endpoint: 'https://127.0.0.1/' })],
    [
      'keys of another alphabet',
      JSON.stringify({ endpoint: 'https://127.0.0.1/', keys: { p256dh: 'a+b', auth: 'a/b' } }),
    ],
  ])('a token that is no subscription (%s) is refused', async (_, token) => {
    expect(await withToken(token)).toMatchObject({
      class: 'permanent',
      reason: expect.stringContaining('PushSubscription'),
    });
  });

  test('a key that is no point of the curve is refused', async () => {
    const device = lane.newDevice();
    const keys = { p256dh: Buffer.alloc(65, 4).toString('base64url'), auth: Buffer.alloc(16).toString('base64url') };
    const token = JSON.stringify({ ...JSON.parse(device.token), keys });
    expect(await withToken(token)).toMatchObject({
      class: 'permanent',
      reason: expect.stringContaining("keys can't be used"),
    });
  });

  test('an endpoint elsewhere gets no request', async () => {
    const elsewhere = await startDeadEnd('hangs up');
    const device = lane.newDevice(elsewhere.port);
    expect(await send(device)).toMatchObject({ class: 'permanent', reason: expect.stringContaining('is allowed') });
    await elsewhere.stop();
  });

  test('the largest message that passes is one that a push service takes', async () => {
    const token = lane.newDevice();
    const empty = toPushMessage(token, { body: '' });
    const room = PUSH_PAYLOAD_LIMIT_BYTES.webpush - Buffer.byteLength(toWebPushPayload(empty));
    const message = { ...empty, body: 'x'.repeat(room) };
    expect(await provider.send(message, { notificationId: 'n', signal: NEVER })).toMatchObject({ class: 'accepted' });
  });

  test('no HTTP/2 is offered, whose streams are sent again unseen', async () => {
    const offered: string[] = [];
    const server = createServer({
      ...(await createCertificate()),
      ALPNCallback({ protocols }) {
        offered.push(...protocols);
        return undefined;
      },
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const agent = createAgent({ ca: null, timeoutMs: 2_000 });
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : address;
    const request = { url: `https://127.0.0.1:${port}`, method: 'POST' as const, headers: {}, body: 'x' };
    expect(await exchange(agent, request, NEVER)).toMatchObject({ kind: 'not_sent' });
    expect(offered).toEqual(['http/1.1']);
    await agent.destroy();
    server.close();
  });

  test('a long collapse key becomes a topic that is the same each time', async () => {
    const devices = [lane.newDevice(), lane.newDevice()];
    const topics = await Promise.all(
      devices.map(async (token) => {
        const message = toPushMessage(token, { collapseKey: 'Bestellung 7 / Größe: '.repeat(5) });
        await provider.send(message, { notificationId: randomUUID(), signal: NEVER });
        return lane.accepted(token).map((pushed) => (pushed as PushedMessage).topic)[0];
      }),
    );
    expect(topics[0]).toMatch(/^[\w-]{32}$/);
    expect(topics[1]).toBe(topics[0]);
  });
});

describe('onesignal', () => {
  let lane: Lane;
  beforeAll(async () => {
    lane = await startOneSignalLane();
  });
  afterAll(() => lane.stop());

  test('a message whose end was unclear, sent again, arrives once', async () => {
    const provider = lane.create();
    const token = lane.newDevice();
    lane.script(token, 'reset_after', 'accept');
    const context = { notificationId: randomUUID(), signal: NEVER };
    expect(await provider.send(toPushMessage(token), context)).toMatchObject({ class: 'transient' });
    expect(await provider.send(toPushMessage(token), context)).toMatchObject({ class: 'accepted' });
    expect(lane.requests(token)).toBe(2);
    expect(lane.accepted(token)).toHaveLength(1);
    await provider.stop();
  });

  test('a link of an app, a long collapse key and a long time to live go as it takes them', async () => {
    const provider = lane.create();
    const token = lane.newDevice();
    const message = toPushMessage(token, { link: 'shop://orders/7', collapseKey: 'ü'.repeat(50), ttlSeconds: 1e9 });
    expect(await provider.send(message, { notificationId: randomUUID(), signal: NEVER })).toMatchObject({
      class: 'accepted',
    });
    expect(lane.accepted(token)).toEqual([
      expect.objectContaining({
        app_url: 'shop://orders/7',
        collapse_id: expect.stringMatching(/^[0-9a-f]{64}$/),
        web_push_topic: expect.stringMatching(/^[\w-]{32}$/),
        ttl: 2_419_200,
      }),
    ]);
    await provider.stop();
  });

  test('the key is a UUID, of the notification and the device alone', () => {
    const key = toIdempotencyKey('n1', 't1');
    expect(isUuid(key)).toBe(true);
    expect(toIdempotencyKey('n1', 't1')).toBe(key);
    expect(
      new Set([key, toIdempotencyKey('n1', 't2'), toIdempotencyKey('n2', 't1'), toIdempotencyKey('n', '1t1')]).size,
    ).toBe(4);
  });
});

describe('sandbox', () => {
  const log = createTestLogger('push-worker');

  test('records each device it would have sent to', async () => {
    const recorded: unknown[] = [];
    const server = await startFakeServer(({ body }) => {
      recorded.push(JSON.parse(body.toString()));
      return { status: 201, body: {} };
    });
    const provider = createSandboxProvider({ recordUrl: `http://127.0.0.1:${server.port}/api/v1/push`, log });
    const message = toPushMessage({ id: 't1', kind: 'webpush', token: 'device' });
    const outcome = await provider.send(message, { notificationId: 'n1', signal: NEVER });
    expect(outcome).toEqual({ class: 'accepted', providerMessageId: 'n1' });
    expect(recorded).toEqual([
      { notificationId: 'n1', tokens: ['device'], ...CONTENT, ttlSeconds: 3_600, collapseKey: 'order-7' },
    ]);
    await server.stop();
  });

  test('says in the log that there was something, and not what', async () => {
    const provider = createSandboxProvider({ recordUrl: null, log });
    const message = toPushMessage({ id: 't1', kind: 'webpush', token: 'device' });
    await provider.send(message, { notificationId: 'n1', signal: NEVER });
    expect(logged()).toEqual([expect.objectContaining({ notificationId: 'n1', tokenId: 't1' })]);
    for (const text of [CONTENT.title, CONTENT.body, 'device'])
      expect(JSON.stringify(logged())).not.toContain(JSON.stringify(text));
  });

  test('its check asks the mailbox, when there is one', async () => {
    const { port } = await startDeadEnd('refuses');
    const lost = createSandboxProvider({ recordUrl: `http://127.0.0.1:${port}/api/v1/push`, log });
    await expect(lost.check(NEVER)).rejects.toThrow(/ECONNREFUSED/);
    await expect(createSandboxProvider({ recordUrl: null, log }).check(NEVER)).resolves.toBeUndefined();
  });
});
