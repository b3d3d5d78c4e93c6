import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CancelNotificationDocument,
  NotificationDocument,
  NotificationsDocument,
} from '../client/generated/operations.ts';
import { ADMIN } from '../contracts/scopes.ts';
import { signRequest } from '../platform/trust.ts';
import { takeAll } from './amqp.ts';
import { begin, claim, expireLease } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification } from './given.ts';
import { expectProblem } from './problem.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const LIST = '/api/v1/notifications/';
const HOUR_MS = 3_600_000;

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
  user = await givenUser(herald);
  template = await givenTemplate(herald);
});
afterAll(() => herald?.stop());

const inTime = (ms: number) => new Date(Date.now() + ms).toISOString();
const givenPending = (fields: object = {}) => givenSent(herald, user, template, fields);
const cancelOverRest = (id: string, reason?: string) =>
  herald.rest('POST', `${LIST}${id}/cancel/`, reason === undefined ? {} : { reason });
const cancel = async (id: string, reason?: string) =>
  (await herald.graphql(CancelNotificationDocument, { id, reason })).cancelNotification;
/** As time would make it. */
const makeDue = (id: string) =>
  Promise.all(
    ['notification SET due_at = now() WHERE id', 'outbox SET due_at = now() WHERE notification_id'].map((update) =>
      herald.sql('notification', `UPDATE ${update} = $1`, [id]),
    ),
  );

describe('what waits for its time', () => {
  test('is listed as scheduled, newest first, until its time has come', async () => {
    const mine = await givenUser(herald);
    const send = (fields: object) => givenSent(herald, mine, template, fields);
    await send({});
    const first = await send({ send_at: inTime(2 * HOUR_MS) });
    const sendAt = inTime(HOUR_MS);
    const second = await send({ send_at: sendAt });
    const listed = async () => {
      const filter = { scheduled: true, userId: mine };
      const { notifications } = await herald.graphql(NotificationsDocument, { filter, first: 50 });
      return notifications.edges.map(({ node }) => node);
    };
    expect(await listed()).toMatchObject([{ id: second, status: 'PENDING', dueAt: sendAt }, { id: first }]);
    const overRest = await herald.rest('GET', `${LIST}?scheduled=true&user_id=${mine}`);
    expect(overRest.body).toMatchObject({
      notifications: [{ notification_id: second, status: 'pending' }, { notification_id: first }],
      next: null,
    });
    await makeDue(first);
    expect((await listed()).map(({ id }) => id)).toEqual([second]);
    await makeDue(second);
    expect(await listed()).toEqual([]);
  });

  test.each([
    ['more than a year ahead', { send_at: inTime(367 * 24 * HOUR_MS) }, 'send_at'],
    ['after its own deadline', { send_at: inTime(HOUR_MS), expires_at: inTime(HOUR_MS - 1) }, 'expires_at'],
    ['with a deadline that has passed', { expires_at: inTime(-1) }, 'expires_at'],
    ['at a time that is none', { send_at: 'tomorrow' }, 'send_at'],
  ])('can not be %s', async (_, fields, field) => {
    const body = { notification_type: 'email', user_id: user, template_code: template, request_id: randomUUID() };
    expectProblem(await herald.rest('POST', LIST, { ...body, ...fields, variables: { name: 'Ada' } }), 400, [field]);
  });
});

describe('a deadline that passes without a worker', () => {
  /** The sweeper looks every 5 s. */
  const SWEPT = { timeoutMs: 10_000 };
  const expire = (...ids: string[]) =>
    herald.sql('notification', 'UPDATE notification SET expires_at = now() WHERE id = ANY ($1)', [ids]);
  const hasEnded = (id: string) => async () => (await readNotification(herald, id)).status === 'failed';

  test('ends it as EXPIRED, and takes it out of the outbox unpublished', async () => {
    const [waiting, held] = [await givenPending(), await givenPending()];
    const later = await givenPending({ send_at: inTime(HOUR_MS), expires_at: inTime(2 * HOUR_MS) });
    const token = await claim(herald, held);
    await expire(waiting, held, later);
    for (const id of [waiting, later]) {
      await until(hasEnded(id), SWEPT);
      expect(await readNotification(herald, id)).toMatchObject({ reason: 'EXPIRED', attempts: 0 });
    }
    expect(await herald.sql('notification', 'SELECT FROM outbox WHERE notification_id = $1', [later])).toEqual([]);
    expect((await readNotification(herald, later)).timeline).toEqual(['ACCEPTED', 'SCHEDULED', 'FAILED']);
    // What a worker holds is the worker's to end.
    expect((await readNotification(herald, held)).status).toBe('pending');
    const report = {
      notification_id: held,
      status: 'failed',
      attempt: { token, class: 'permanent', reason: 'EXPIRED' },
    };
    await herald.rest('POST', '/api/v1/email/status/', report);
    expect(await readNotification(herald, held)).toMatchObject({ status: 'failed', reason: 'EXPIRED' });
  });

  test('makes it no job any more, also before it has ended', async () => {
    const id = await givenPending({ send_at: inTime(HOUR_MS) });
    await expire(id);
    await makeDue(id);
    await until(hasEnded(id), SWEPT);
    expect((await readNotification(herald, id)).timeline).toEqual(['ACCEPTED', 'SCHEDULED', 'FAILED']);
  });
});

describe('cancelled in time', () => {
  test.each<[string, (id: string) => Promise<unknown>]>([
    ['GraphQL', async (id) => expect(await cancel(id, 'sold out')).toMatchObject({ cancelled: true })],
    [
      'REST',
      async (id) => {
        const body = { cancelled: true, notification_id: id, status: 'failed', reason: 'CANCELLED' };
        expect(await cancelOverRest(id, 'sold out')).toMatchObject({ status: 200, body });
      },
    ],
  ])('over %s: it is never sent, says who and why, and is no dead letter', async (_, cancelIt) => {
    const [now, later] = [await givenPending(), await givenPending({ send_at: inTime(HOUR_MS) })];
    for (const id of [now, later]) {
      await cancelIt(id);
      const { notification } = await herald.graphql(NotificationDocument, { id });
      expect(notification).toMatchObject({ status: 'FAILED', reason: 'CANCELLED', dueAt: null });
      expect(notification?.timeline.at(-1)).toMatchObject({
        event: 'CANCELLED',
        detail: { by: 'admin', why: 'sold out', reason: 'CANCELLED' },
      });
    }
    await makeDue(later);
    await herald.startPart('email');
    const sent = await givenPending();
    await herald.drained();
    await herald.stopPart('email');
    expect(await mailsOf(herald, sent)).toHaveLength(1);
    for (const id of [now, later]) {
      expect(await mailsOf(herald, id)).toEqual([]);
      expect(await readNotification(herald, id)).toMatchObject({ reason: 'CANCELLED', attempts: 0 });
    }
    if (hasServices) expect(await takeAll(herald.amqpUrl, herald.names.queues.failed)).toEqual([]);
  });

  test('it stays so, however often it is cancelled, and nobody can claim it', async () => {
    const id = await givenPending();
    await cancel(id);
    const after = await readNotification(herald, id);
    expect(await cancel(id, 'again')).toMatchObject({ cancelled: true });
    expect(await cancelOverRest(id)).toMatchObject({ status: 200, body: { cancelled: true } });
    expect(await claim(herald, id)).toBeUndefined();
    // Without QUEUED: the relay works beside, in its own time.
    const { timeline, ...rest } = await readNotification(herald, id);
    expect(rest).toMatchObject({ status: after.status, updated_at: after.updated_at });
    expect(timeline.filter((event: string) => event === 'CANCELLED')).toHaveLength(1);
  });

  test('also one that waits for its next try', async () => {
    const id = await givenPending();
    const attempt = { token: await begin(herald, id), class: 'transient', retry_after_seconds: 1_000 };
    const report = { notification_id: id, status: 'pending', attempt };
    expect((await herald.rest('POST', '/api/v1/email/status/', report)).status).toBe(200);
    expect(await cancel(id)).toMatchObject({ cancelled: true, notification: { reason: 'CANCELLED' } });
  });
});

describe('cancelled too late', () => {
  const given = {
    leased: async () => {
      const id = await givenPending();
      await claim(herald, id);
      return id;
    },
    'out of its lease': async () => {
      const id = await givenPending();
      await begin(herald, id);
      await expireLease(herald, id);
      return id;
    },
    delivered: async () => {
      const id = await givenPending();
      await herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status: 'delivered' });
      return id;
    },
    'failed for another reason': async () => {
      const id = await givenPending();
      await herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status: 'failed' });
      return id;
    },
  };

  test.each<[keyof typeof given, string]>([
    ['leased', 'PENDING'],
    ['out of its lease', 'PENDING'],
    ['delivered', 'DELIVERED'],
    ['failed for another reason', 'FAILED'],
  ])('one that is %s stays as it is, and the answer says so', async (state, status) => {
    const id = await given[state]();
    const before = await herald.sql('notification', 'SELECT * FROM notification WHERE id = $1', [id]);
    expect(await cancel(id)).toMatchObject({ cancelled: false, notification: { id, status } });
    const body = { cancelled: false, notification_id: id, status: status.toLowerCase() };
    expect(await cancelOverRest(id)).toMatchObject({ status: 409, body });
    expect(await herald.sql('notification', 'SELECT * FROM notification WHERE id = $1', [id])).toEqual(before);
  });
});

test('cancelled after an attempt that may have been delivered, it ends unsent, and the answer claims nothing', async () => {
  const id = await givenPending();
  const attempt = { token: await begin(herald, id), class: 'unknown', retry_after_seconds: 1_000 };
  await herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status: 'pending', attempt });
  for (let times = 0; times < 2; times += 1) {
    const notification = { status: 'FAILED', reason: 'OUTCOME_UNKNOWN' };
    expect(await cancel(id, 'sold out')).toMatchObject({ cancelled: false, notification });
  }
  expect((await readNotification(herald, id)).timeline.at(-1)).toBe('CANCELLED');
  expect(await claim(herald, id)).toBeUndefined();
});

describe('the words of whoever acts', () => {
  test.each([
    ['NUL', 'a\0b', /control characters/],
    ['a line break', 'a\nb', /control characters/],
    ['more than 1,000 bytes', 'ä'.repeat(501), /at most 1000 bytes/],
    ['nothing', ' ', /empty/],
  ])('can not have %s in them', async (_, reason, why) => {
    const id = await givenPending({ send_at: inTime(HOUR_MS) });
    const filter = { user_id: user };
    for (const [path, body] of [
      [`${id}/cancel/`, { reason }],
      [`${id}/replay/`, { reason }],
      [`${id}/discard/`, { reason }],
      ['replay/', { filter, reason }],
      ['discard/', { filter, reason }],
    ] as const) {
      const refused = await herald.rest('POST', `${LIST}${path}`, body);
      expectProblem(refused, 400, ['reason']);
      expect(refused.body.detail, path).toMatch(why);
    }
    expect((await readNotification(herald, id)).status).toBe('pending');
  });
});

describe('what there is not for a viewer can not be cancelled', () => {
  test.each([
    ['an unknown id', randomUUID()],
    ['an id that is no UUID', 'ada'],
  ])('%s', async (_, id) => {
    await expect(cancel(id)).rejects.toMatchObject({ code: 'NOT_FOUND', field: 'id' });
    expectProblem(await cancelOverRest(id), 404, ['id']);
  });

  test("another client's", async () => {
    const id = await givenPending();
    const body = JSON.stringify({ query: CancelNotificationDocument.toString(), variables: { id } });
    const viewer = { ...ADMIN, kind: 'client', id: 'somebody-else' } as const;
    const signed = { method: 'POST', path: '/graphql', body };
    const headers = signRequest(
      signed,
      { viewer, requestId: 'story' },
      { caller: 'gateway', callee: 'notification' },
      herald.secrets.notification,
    );
    const answer = await herald.rest('POST', `${herald.urlOf('notification')}/graphql`, body, headers);
    expect(answer.body).toMatchObject({ data: null, errors: [{ extensions: { code: 'NOT_FOUND' } }] });
    expect((await readNotification(herald, id)).status).toBe('pending');
  });
});
