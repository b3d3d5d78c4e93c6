import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AddPushTokenDocument,
  PushTokensDocument,
  RemovePushTokenDocument,
  SuppressDocument,
} from '../client/generated/operations.ts';
import { begin, claim } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

let herald: Herald;
let template: string;
beforeAll(async () => {
  herald = await startHerald();
  template = await givenTemplate(herald);
});
afterAll(() => herald?.stop());

const subscription = (endpoint = 'https://updates.push.services.mozilla.com/wpush/v2/abc') =>
  JSON.stringify({ endpoint, keys: { p256dh: 'BAAAA', auth: 'AAAA' } });

const add = async (userId: string, token = `device-${randomUUID()}`) =>
  (await herald.graphql(AddPushTokenDocument, { userId, token })).addPushToken;
const remove = async (userId: string, id: string) =>
  (await herald.graphql(RemovePushTokenDocument, { userId, id })).removePushToken;
const read = async (userId: string) => (await herald.graphql(PushTokensDocument, { userId })).user;
const push = (user: string) => givenSent(herald, user, template, { notification_type: 'push' });
const suppressDevice = (address: string) =>
  herald.graphql(SuppressDocument, { input: { notificationType: 'PUSH', address, reason: 'asked to stop' } });

/** The tokens that the sandbox got a notification for. */
const reached = async (id: string) =>
  (await herald.pushes())
    .filter(({ NotificationID }) => NotificationID === id)
    .flatMap(({ Tokens }) => Tokens)
    .sort();

/** @returns what became of it, and whom it reached */
async function ended(id: string) {
  await herald.drained();
  const { status, reason, attempts } = await readNotification(herald, id);
  return { status, reason, attempts, reached: await reached(id) };
}

/** Tells what a worker found out of each device. */
const report = (id: string, token: number, outcome: string, results: object[]) =>
  herald.rest(
    'POST',
    '/api/v1/push/status/',
    [
      {
        notification_id: id,
        status: outcome === 'address_dead' ? 'failed' : 'pending',
        attempt: { token, class: outcome, provider: 'fcm', results },
      },
    ],
    { authorization: `Bearer ${herald.workerApiKey}` },
  );

describe('the devices of a user', () => {
  test.each([
    ['a UUID', randomUUID(), 'ONESIGNAL'],
    ['a PushSubscription', subscription(), 'WEBPUSH'],
    ['anything else', 'cXyz:APA91b-token', 'FCM'],
  ])('%s is seen for what it is', async (_, token, kind) => {
    const user = await givenUser(herald, { push_token: null });
    expect(await add(user, token)).toMatchObject({ kind, token, deadAt: null });
    const created = await givenUser(herald, { push_token: token });
    expect(await read(created)).toMatchObject({ pushToken: token, pushTokens: [{ kind, token }] });
  });

  test('are listed with the newest first, which is the one that REST shows; twice is once', async () => {
    const user = await givenUser(herald, { push_token: 'first' });
    const [second, third] = [await add(user, 'second'), await add(user, 'third')];
    expect(await add(user, 'second')).toEqual(second);
    expect(await read(user)).toMatchObject({
      pushToken: 'third',
      pushTokens: [{ token: 'third' }, { token: 'second' }, { token: 'first' }],
    });
    expect((await herald.rest('GET', `/api/v1/users/${user}`)).body.push_token).toBe('third');
    expect(await remove(user, third.id)).toBe(true);
    expect(await remove(user, third.id)).toBe(false);
    expect(await remove(await givenUser(herald), second.id)).toBe(false);
    expect(await read(user)).toMatchObject({ pushToken: 'second' });
  });

  test.each([
    ['empty', ''],
    ['with a line break', 'a\nb'],
    ['too long', 'a'.repeat(4_097)],
    ['JSON that is cut off', '{"endpoint":"https://push.example'],
    ['a subscription without keys', '{"endpoint":"https://push.example/x"}'],
    ['a subscription whose endpoint is not https', subscription('http://127.0.0.1/x')],
  ])('are refused: %s', async (_, token) => {
    const user = await givenUser(herald, { push_token: null });
    await expect(add(user, token)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field: 'token' });
    expect(await read(user)).toEqual({ pushToken: null, pushTokens: [] });
  });

  test('belong to whoever added them last: what is meant for the one before does not show there', async () => {
    const tablet = `tablet-${randomUUID()}`;
    const [ada, bob] = [await givenUser(herald, { push_token: tablet }), await givenUser(herald, { push_token: null })];
    await herald.stopPart('push');
    const [id] = [await push(ada)];
    await add(bob, tablet);
    expect(await read(ada)).toEqual({ pushToken: null, pushTokens: [] });
    expect(await read(bob)).toMatchObject({ pushToken: tablet });
    await herald.startPart('push');
    expect(await ended(id)).toMatchObject({ status: 'failed', reason: 'ADDRESS_DEAD', reached: [] });
    const zoe = await givenUser(herald, { push_token: tablet });
    expect(await read(bob)).toEqual({ pushToken: null, pushTokens: [] });
    expect(await read(zoe)).toMatchObject({ pushToken: tablet });
  });

  test('are at most 50, and of users that exist', async () => {
    const user = await givenUser(herald, { push_token: null });
    for (let left = 50; left > 0; left -= 1) await add(user);
    await expect(add(user)).rejects.toMatchObject({ code: 'UNPROCESSABLE', field: 'token' });
    await expect(add(randomUUID())).rejects.toMatchObject({ code: 'NOT_FOUND', field: 'userId' });
  });
});

describe('a push message', () => {
  test('goes to every device', async () => {
    const user = await givenUser(herald, { push_token: 'phone' });
    await add(user, 'tablet');
    expect(await ended(await push(user))).toEqual({
      status: 'delivered',
      reason: null,
      attempts: 1,
      reached: ['phone', 'tablet'],
    });
  });

  test('goes to the devices as they are when it is sent', async () => {
    const user = await givenUser(herald, { push_token: 'old' });
    const [old] = (await read(user))?.pushTokens ?? [];
    await herald.stopPart('push');
    const id = await push(user);
    await add(user, 'new');
    await remove(user, old?.id ?? '');
    await herald.startPart('push');
    expect(await ended(id)).toMatchObject({ status: 'delivered', reached: ['new'] });
  });

  test('passes over a suppressed device, also one that the user took on after the send was accepted', async () => {
    const [kept, suppressed] = [`kept-${randomUUID()}`, `suppressed-${randomUUID()}`];
    await suppressDevice(suppressed);
    const user = await givenUser(herald, { push_token: kept });
    const [only] = (await read(user))?.pushTokens ?? [];
    await herald.stopPart('push');
    const [both, one] = [await push(user), await push(user)];
    await add(user, suppressed);
    await herald.startPart('push');
    expect(await ended(both)).toMatchObject({ status: 'delivered', reached: [kept] });
    expect(await ended(one)).toMatchObject({ status: 'delivered', reached: [kept] });

    await herald.stopPart('push');
    const late = await push(user);
    await remove(user, only?.id ?? '');
    await herald.startPart('push');
    expect(await ended(late)).toMatchObject({ status: 'failed', reason: 'SUPPRESSED', reached: [] });
  });
});

describe('a device that a provider says is dead', () => {
  const claimed = async (user: string) => {
    await herald.stopPart('push');
    const id = await push(user);
    await until(async () => (await readNotification(herald, id)).timeline.includes('QUEUED'));
    return { id, token: await begin(herald, id) };
  };

  test('is marked on the user and never tried again; it may come back as a new one', async () => {
    const user = await givenUser(herald, { push_token: 'gone' });
    await add(user, 'there');
    const gone = (await read(user))?.pushTokens.find(({ token }) => token === 'gone');
    const { id, token } = await claimed(user);
    await report(id, token, 'transient', [{ target: gone?.id, class: 'address_dead', reason: 'UNREGISTERED' }]);
    await until(async () => (await read(user))?.pushTokens.some(({ deadAt }) => deadAt !== null), {
      timeoutMs: 10_000,
    });
    expect(await read(user)).toMatchObject({ pushToken: 'there' });
    await herald.startPart('push');
    // The retry, too, goes only to the one that is left.
    expect(await ended(id)).toMatchObject({ status: 'delivered', reached: ['there'] });
    expect(await ended(await push(user))).toMatchObject({ reached: ['there'] });

    const back = await add(user, 'gone');
    expect(back).toMatchObject({ deadAt: null });
    expect(back.id).not.toBe(gone?.id);
    expect(await ended(await push(user))).toMatchObject({ reached: ['gone', 'there'] });
  });

  test('is not tried again while the user service has not heard of it', async () => {
    const user = await givenUser(herald, { push_token: 'gone' });
    const [gone] = (await read(user))?.pushTokens ?? [];
    // The worker knows the user's preferences from here on.
    expect(await ended(await push(user))).toMatchObject({ reached: ['gone'] });
    const { id, token } = await claimed(user);
    const next = await push(user);
    await herald.stopPart('user');
    await report(id, token, 'address_dead', [{ target: gone?.id, class: 'address_dead' }]);
    expect(await readNotification(herald, id)).toMatchObject({ status: 'failed', reason: 'ADDRESS_DEAD' });
    await herald.startPart('push');
    expect(await ended(next)).toMatchObject({ status: 'failed', reason: 'ADDRESS_DEAD', attempts: 0, reached: [] });
    await herald.startPart('user');
    await until(async () => (await read(user))?.pushToken === null, { timeoutMs: 10_000 });
  });

  test('leaves the others to a retry, and those that have the message are not asked again', async () => {
    const user = await givenUser(herald, { push_token: 'has-it' });
    await add(user, 'busy');
    const devices = (await read(user))?.pushTokens ?? [];
    const idOf = (token: string) => devices.find((device) => device.token === token)?.id;
    const { id, token } = await claimed(user);
    // A worker that died after its first provider: the second hand-over is open.
    const starts = [
      {
        id,
        token,
        provider: 'webpush',
        ended: { class: 'accepted', reason: null, results: [{ target: idOf('has-it'), class: 'accepted' }] },
      },
    ];
    await herald.sql('worker', 'SELECT number FROM start_attempts($1, $2)', [JSON.stringify(starts), 60]);
    await report(id, token, 'transient', [{ target: idOf('busy'), class: 'transient' }]);
    await herald.sql('notification', 'UPDATE notification SET due_at = now() WHERE id = $1', [id]);
    await herald.startPart('push');
    expect(await ended(id)).toEqual({ status: 'delivered', reason: null, attempts: 3, reached: ['busy'] });
    expect(await claim(herald, id)).toBeUndefined();
  });
});
