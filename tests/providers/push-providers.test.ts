import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceMessage, PushToken } from '../../contracts/message.ts';
import type { Provider } from '../../workers/provider.ts';
import { watchLeaks } from '../leaks.ts';
import { until } from '../until.ts';
import { startDeadEnd, startFcmLane, startOneSignalLane, startWebPushLane, type Lane } from './push-lanes.ts';
import { CONTENT, NEVER, toPushMessage } from './push-message.ts';
import { FCM_ROWS, ONESIGNAL_ROWS, WEB_PUSH_ROWS } from './push-rows.ts';

const NOTIFICATION_ID = randomUUID();

describe.each([
  { name: 'fcm', start: startFcmLane, rows: FCM_ROWS, unclear: 'unknown' },
  { name: 'webpush', start: startWebPushLane, rows: WEB_PUSH_ROWS, unclear: 'unknown' },
  // It knows repetitions, so what is unclear may be repeated.
  { name: 'onesignal', start: startOneSignalLane, rows: ONESIGNAL_ROWS, unclear: 'transient' },
])('$name', ({ name, start, rows, unclear }) => {
  let lane: Lane;
  let provider: Provider<DeviceMessage>;
  beforeAll(async () => {
    lane = await start();
    provider = lane.create();
  });
  afterAll(async () => {
    await provider.stop();
    await lane.stop();
  });

  const send = (
    token: PushToken,
    options: {
      by?: Provider<DeviceMessage>;
      signal?: AbortSignal;
      changes?: Partial<DeviceMessage>;
      notificationId?: string;
    } = {},
  ) =>
    (options.by ?? provider).send(toPushMessage(token, options.changes), {
      notificationId: options.notificationId ?? randomUUID(),
      signal: options.signal ?? NEVER,
    });

  test('says which devices it takes', () => {
    expect(provider).toMatchObject({ name, takes: [name] });
  });

  test('hands a message over once, whole', async () => {
    const token = lane.newDevice();
    const outcome = await send(token, { notificationId: NOTIFICATION_ID });
    expect(outcome).toEqual({ class: 'accepted', providerMessageId: expect.stringMatching(/\S/) });
    expect(lane.requests(token)).toBe(1);
    expect(lane.accepted(token)).toEqual([WHOLE[name as keyof typeof WHOLE](token)]);
  });

  test('leaves out what a message lacks', async () => {
    const token = lane.newDevice();
    const changes = { image: null, link: null, data: null, ttlSeconds: null, collapseKey: null };
    expect(await send(token, { changes, notificationId: NOTIFICATION_ID })).toMatchObject({ class: 'accepted' });
    expect(lane.accepted(token)).toEqual([BARE[name as keyof typeof BARE](token)]);
  });

  test('keeps a connection for the next message', async () => {
    await send(lane.newDevice());
    const before = lane.connections();
    for (const token of [lane.newDevice(), lane.newDevice(), lane.newDevice()]) {
      await turn();
      expect(await send(token)).toMatchObject({ class: 'accepted' });
    }
    expect(lane.connections()).toBe(before);
  });

  test.each(rows)('%s', async (_, answer, outcome) => {
    const own = lane.create();
    try {
      const token = lane.newDevice();
      lane.script(token, typeof answer === 'function' ? answer(token) : answer);
      expect(await send(token, { by: own })).toMatchObject({ reason: expect.any(String), ...outcome });
      expect(lane.requests(token)).toBe(1);
      expect(lane.accepted(token)).toEqual([]);
    } finally {
      await own.stop();
    }
  });

  test.each([
    ['reset_before', 0],
    ['reset_after', 1],
  ] as const)('%s: one request, and it is not clear what became of it', async (step, accepted) => {
    const token = lane.newDevice();
    lane.script(token, step);
    expect(await send(token)).toMatchObject({ class: unclear, reason: expect.any(String) });
    expect(lane.requests(token)).toBe(1);
    expect(lane.accepted(token)).toHaveLength(accepted);
  });

  test('a reset on a kept connection: one request too', async () => {
    const [first, second] = [lane.newDevice(), lane.newDevice()];
    expect(await send(first)).toMatchObject({ class: 'accepted' });
    lane.script(second, 'reset_before', 'accept');
    expect(await send(second)).toMatchObject({ class: unclear });
    expect(lane.requests(second)).toBe(1);
  });

  test('a server that never answers: the time limit holds, also for the connection', async () => {
    const hasty = lane.create({ timeoutMs: 150 });
    try {
      await send(lane.newDevice(), { by: hasty });
      const token = lane.newDevice();
      lane.script(token, 'hang');
      expect(await send(token, { by: hasty })).toMatchObject({
        class: unclear,
        reason: expect.stringContaining('in time'),
      });
      expect(lane.requests(token)).toBe(1);
      await until(() => lane.hanging() === 0);
    } finally {
      await hasty.stop();
    }
  });

  test('an aborted send ends at once, and is not repeated', async () => {
    const token = lane.newDevice();
    lane.script(token, 'hang');
    const abort = new AbortController();
    const sending = send(token, { signal: abort.signal });
    await until(() => lane.requests(token) === 1);
    abort.abort();
    expect(await sending).toMatchObject({ class: unclear, reason: expect.stringContaining('in time') });
    expect(lane.requests(token)).toBe(1);
  });

  test.each(['refuses', 'hangs up'] as const)('a server that %s: nothing was sent', async (kind) => {
    const deadEnd = await startDeadEnd(kind);
    const lost = lane.create({ port: deadEnd.port });
    try {
      const outcome = await send(lane.newDevice(deadEnd.port), { by: lost });
      expect(outcome).toMatchObject({ class: 'transient', reason: expect.stringMatching(/\S/) });
    } finally {
      await lost.stop();
      await deadEnd.stop();
    }
  });

  test('an answer of any length is stored in 8,000 characters', async () => {
    const token = lane.newDevice();
    lane.script(token, { status: 299, body: 'long '.repeat(50_000) });
    const { class: outcomeClass, reason } = await send(token);
    expect(outcomeClass).toBe('unknown');
    expect(reason).toHaveLength(8_000);
    expect(reason).toMatch(/^299 long long/);
  });

  test('no secret is in a reason, though the service says it', async () => {
    const token = lane.newDevice();
    lane.script(token, { status: 403, body: { error: { message: lane.secrets().join(' ') } } });
    const { reason = '' } = await send(token);
    expect(reason).toContain('[secret]');
    for (const secret of lane.secrets()) expect(reason).not.toContain(JSON.stringify(secret).slice(1, -1));
  });

  test('nor what a request was signed with, though a proxy echoes it', async () => {
    const token = lane.newDevice();
    lane.script(token, 'echo');
    const { reason = '' } = await send(token);
    expect(reason).toMatch(/authorization.*\[secret\]/);
    expect(reason).not.toMatch(/ya29\.|eyJ|os_v2_app_/);
  });

  test('a message that is too large is refused before it is sent', async () => {
    const token = lane.newDevice();
    const outcome = await send(token, { changes: { data: { much: 'x'.repeat(5_000) } } });
    expect(outcome).toMatchObject({
      class: 'permanent',
      reason: expect.stringMatching(/is \d+ bytes, more than the \d+/),
    });
    expect(lane.requests(token)).toBe(0);
  });

  test('a check is content with good credentials and sends nothing', async () => {
    await expect(provider.check(NEVER)).resolves.toBeUndefined();
  });

  test('a check says what is wrong with bad ones; sends wait for the mend', async () => {
    for (const { provider: wrong, says } of lane.createWrong()) {
      try {
        await expect(wrong.check(NEVER)).rejects.toThrow(says);
        const token = lane.newDevice();
        expect(await send(token, { by: wrong })).toMatchObject({ class: 'configuration' });
        expect(lane.accepted(token)).toEqual([]);
      } finally {
        await wrong.stop();
      }
    }
  });

  test('stopped, it leaves no connection and no timer, even with a send that was given up', async () => {
    const quiet = await start();
    const leaks = watchLeaks();
    const own = quiet.create();
    expect(await send(quiet.newDevice(), { by: own })).toMatchObject({ class: 'accepted' });
    const token = quiet.newDevice();
    quiet.script(token, 'hang');
    const abort = new AbortController();
    const sending = send(token, { by: own, signal: abort.signal });
    await until(() => quiet.requests(token) === 1);
    abort.abort();
    await sending;
    await own.stop();
    // Sooner than any idle connection ends by itself.
    await until(() => quiet.open() === 0, { timeoutMs: 1_000 });
    await leaks();
    await quiet.stop();
  });
});

/** What devices get of the message above. */
const WHOLE = {
  fcm: ({ token }: PushToken) => ({
    token,
    notification: { title: CONTENT.title, body: CONTENT.body, image: CONTENT.image },
    data: { order: '7', note: 'schön', nested: '{"ok":true}', link: CONTENT.link },
    android: { collapse_key: 'order-7', ttl: '3600s' },
    apns: {
      headers: { 'apns-collapse-id': 'order-7', 'apns-expiration': expect.stringMatching(/^\d{10}$/) },
      payload: { aps: { 'mutable-content': 1 } },
      fcmOptions: { image: CONTENT.image },
    },
    webpush: { headers: { Topic: 'order-7', TTL: '3600' }, fcmOptions: { link: CONTENT.link } },
  }),
  webpush: () => ({
    payload: JSON.stringify({
      title: CONTENT.title,
      body: CONTENT.body,
      image: CONTENT.image,
      link: CONTENT.link,
      tag: 'order-7',
      data: CONTENT.data,
    }),
    ttl: '3600',
    topic: 'order-7',
    urgency: 'normal',
  }),
  onesignal: ({ token }: PushToken) => ({
    app_id: expect.any(String),
    name: NOTIFICATION_ID,
    target_channel: 'push',
    include_subscription_ids: [token],
    idempotency_key: expect.any(String),
    headings: { en: CONTENT.title },
    contents: { en: CONTENT.body },
    data: CONTENT.data,
    big_picture: CONTENT.image,
    chrome_web_image: CONTENT.image,
    ios_attachments: { image: CONTENT.image },
    url: CONTENT.link,
    ttl: 3_600,
    collapse_id: 'order-7',
    web_push_topic: 'order-7',
  }),
};

const BARE = {
  fcm: ({ token }: PushToken) => ({
    token,
    notification: { title: CONTENT.title, body: CONTENT.body },
    data: {},
    android: {},
    apns: { headers: {} },
    webpush: { headers: {} },
  }),
  webpush: () => ({
    payload: JSON.stringify({ title: CONTENT.title, body: CONTENT.body }),
    ttl: String(28 * 24 * 60 * 60),
    topic: null,
    urgency: 'normal',
  }),
  onesignal: ({ token }: PushToken) => ({
    app_id: expect.any(String),
    name: NOTIFICATION_ID,
    target_channel: 'push',
    include_subscription_ids: [token],
    idempotency_key: expect.any(String),
    headings: { en: CONTENT.title },
    contents: { en: CONTENT.body },
  }),
};

/** A connection is free again only after the answer was read. */
const turn = () => new Promise((resolve) => setImmediate(resolve));
