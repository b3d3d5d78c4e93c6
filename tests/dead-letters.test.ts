import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  DiscardNotificationDocument,
  DiscardNotificationsDocument,
  FeedDocument,
  NotificationsDocument,
  ReplayNotificationDocument,
  ReplayNotificationsDocument,
  type NotificationFilter,
} from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { expectProblem } from './problem.ts';
import { startScriptedSmtp, type ScriptedSmtp, type Step } from './scripted-smtp.ts';
import { hasServices, startHerald, type Herald } from './start.ts';

const LIST = '/api/v1/notifications/';
const SPAM: Step = { toMessage: '554 5.7.1 this is spam' };
const BUSY: Step = { toRecipient: '450 4.2.1 mailbox busy' };

describe.skipIf(!hasServices)('dead letters', () => {
  let smtp: ScriptedSmtp;
  let herald: Herald;
  let template: string;
  beforeAll(async () => {
    smtp = await startScriptedSmtp();
    herald = await startHerald({
      smtpUrl: smtp.url,
      // One try more, when the schedule ends.
      retry: { baseSeconds: 1e6, capSeconds: 1e6, giveUpSeconds: 0.05 },
      breaker: { minSends: 1_000 },
    });
    template = await givenTemplate(herald);
  });
  afterAll(async () => {
    await herald?.stop();
    await smtp?.stop();
  });

  async function givenPerson(...steps: Step[]) {
    const email = `${randomUUID()}@example.com`;
    smtp.script(email, ...steps);
    return { email, user: await givenUser(herald, { email }) };
  }
  /** Sends that ended as failed, all to one user. */
  async function givenFailed(count = 1, { step = SPAM, ...fields }: { step?: Step } & Record<string, unknown> = {}) {
    const { email, user } = await givenPerson(step);
    const ids: string[] = [];
    for (let left = count; left > 0; left -= 1) ids.push(await givenSent(herald, user, template, fields));
    await herald.drained();
    return { email, user, ids, id: ids[0] ?? '' };
  }
  const page = async (filter: NotificationFilter, first = 50, after?: string | null) =>
    (await herald.graphql(NotificationsDocument, { filter, first, after })).notifications;
  const idsOf = async (filter: NotificationFilter) => (await page(filter)).edges.map(({ node }) => node.id);
  const replay = async (id: string, reason?: string) =>
    (await herald.graphql(ReplayNotificationDocument, { id, reason })).replayNotification;
  const replayMany = async (filter: NotificationFilter, more: object = {}) =>
    (await herald.graphql(ReplayNotificationsDocument, { filter, perSecond: 1_000, limit: 1_000, ...more }))
      .replayNotifications;
  const discardMany = async (filter: NotificationFilter, limit: number) =>
    (await herald.graphql(DiscardNotificationsDocument, { filter, limit, reason: 'old' })).discardNotifications;
  const sql = (text: string, id: string) => herald.sql('notification', text, [id]);

  describe('are found', () => {
    test('by status, reason, type, template, user, request and time, each with all its attempts', async () => {
      const { ids, user, id: dead } = await givenFailed();
      const since = new Date().toISOString();
      const busy = await givenSent(herald, user, template);
      await herald.drained();
      const pushed = await givenSent(herald, user, template, { notification_type: 'push' });
      await herald.drained();
      smtp.script((await herald.rest('GET', `/api/v1/users/${user}`)).body.email, BUSY);
      const tried = await givenSent(herald, user, await givenTemplate(herald));
      await herald.drained();

      const failed = { userId: user, status: 'FAILED' } as const;
      expect(await idsOf(failed)).toEqual([tried, busy, ...ids]);
      expect(await idsOf({ userId: user })).toEqual([tried, pushed, busy, dead]);
      expect(await idsOf({ ...failed, reasons: ['RETRIES_EXHAUSTED', 'EXPIRED'] })).toEqual([tried]);
      expect(await idsOf({ userId: user, notificationType: 'PUSH' })).toEqual([pushed]);
      expect(await idsOf({ ...failed, templateCode: template })).toEqual([busy, dead]);
      const { request_id: requestId } = await readNotification(herald, busy);
      expect(await idsOf({ userId: user, requestId })).toEqual([busy]);
      expect(await idsOf({ ...failed, since })).toEqual([tried, busy]);
      expect(await idsOf({ ...failed, until: since })).toEqual([dead]);
      const query = `status=failed&reason=RETRIES_EXHAUSTED&user_id=${user}&notification_type=email`;
      expect((await herald.rest('GET', `${LIST}?${query}`)).body).toMatchObject({
        notifications: [{ notification_id: tried, reason: 'RETRIES_EXHAUSTED', attempts: 2 }],
        next: null,
      });

      const attempt = { provider: 'smtp', outcome: 'TRANSIENT', reason: expect.stringContaining('mailbox busy') };
      const [node] = (await page({ requestId: (await readNotification(herald, tried)).request_id })).edges;
      expect(node?.node.deliveryAttempts).toMatchObject([1, 2].map((number) => ({ number, ...attempt })));
      expect((await herald.rest('GET', `${LIST}${tried}/attempts/`)).body.attempts).toMatchObject(
        [1, 2].map((number) => ({ number, ...attempt, outcome: 'transient', finished_at: expect.any(String) })),
      );
    });

    test('page by page, without a gap or a repeat, while more are sent', async () => {
      const { user, ids } = await givenFailed(7);
      const filter = { userId: user };
      const first = await page(filter, 3);
      await givenSent(herald, user, template);
      const second = await page(filter, 3, first.pageInfo.endCursor);
      const third = await page(filter, 3, second.pageInfo.endCursor);
      expect([first, second, third].map(({ pageInfo }) => pageInfo.hasNextPage)).toEqual([true, true, false]);
      expect([first, second, third].flatMap(({ edges }) => edges.map(({ node }) => node.id))).toEqual(ids.toReversed());

      const overRest: string[] = [];
      for (let next: string | null = ''; next !== null;) {
        const path = `${LIST}?user_id=${user}&first=3${next && `&after=${next}`}`;
        const { body } = await herald.rest('GET', path);
        overRest.push(...body.notifications.map((item: { notification_id: string }) => item.notification_id));
        next = body.next;
      }
      expect(overRest.slice(1)).toEqual(ids.toReversed());
    });

    test.each<[string, Parameters<typeof page>, string]>([
      ['a page of none', [{}, 0], 'first'],
      ['a page of 201', [{}, 201], 'first'],
      ['a cursor that is none', [{}, 1, 'ada'], 'after'],
      ['a user that is no UUID', [{ userId: 'ada' }], 'filter.userId'],
      ['a time before all times', [{ since: '0001-01-01T00:00:00Z', userId: 'ada' }], 'filter.userId'],
    ])('not by %s', async (_, wanted, field) => {
      await expect(page(...wanted)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
    });

    test('by any time, also one long before or after', async () => {
      const { user, id } = await givenFailed();
      expect(await idsOf({ userId: user, since: '0001-01-01T00:00:00Z', until: '9999-12-31T00:00:00Z' })).toEqual([id]);
    });
  });

  describe('replayed', () => {
    test('one is delivered in a new run, and the feed says that it is pending again', async () => {
      const { id, email } = await givenFailed(1, { step: BUSY });
      await sql('UPDATE notification SET claims = 9 WHERE id = $1', id);
      const { feed } = await herald.graphql(FeedDocument, { first: 1 });
      await herald.stopPart('email');
      expect(await replay(id, 'mended')).toMatchObject({ id, status: 'PENDING', reason: null });
      const run = 'SELECT failures, failing_since, claims, attempts, ended_at FROM notification WHERE id = $1';
      expect(await sql(run, id)).toEqual([
        { failures: 0, failing_since: null, claims: 0, attempts: 2, ended_at: null },
      ]);
      // One failure more: the schedule begins anew.
      smtp.script(email, BUSY, 'accept');
      await herald.startPart('email');
      await herald.drained();
      expect(await readNotification(herald, id)).toMatchObject({ status: 'delivered', attempts: 4 });
      expect(smtp.accepted(email)).toEqual([`${id}@herald.example`]);
      const why = `SELECT detail->>'by' AS by, detail->>'why' AS why FROM timeline WHERE notification_id = $1 AND event = 'REPLAYED'`;
      expect(await sql(why, id)).toEqual([{ by: 'admin', why: 'mended' }]);
      const after = feed.endCursor;
      const events = (await herald.graphql(FeedDocument, { after, first: 10, filter: { notificationId: id } })).feed;
      expect(events.events.map(({ previousStatus, status }) => [previousStatus, status])).toEqual([
        ['FAILED', 'PENDING'],
        ['PENDING', 'PENDING'],
        ['PENDING', 'DELIVERED'],
      ]);
    });

    test('many by filter become due one after the other, at the rate that was asked for', async () => {
      const { user, ids, email } = await givenFailed(5);
      const elsewhere = await givenFailed();
      smtp.script(email, 'accept');
      const answer = await replayMany({ userId: user, reasons: ['REJECTED'] }, { perSecond: 4, limit: 4 });
      expect(answer).toMatchObject({ replayed: 4, refused: [], hasMore: true, lastDueAt: expect.any(String) });
      const due = `SELECT id, extract(epoch FROM due_at - min(due_at) OVER ())::float AS after FROM notification
        WHERE user_id = $1 AND status <> 'failed' ORDER BY due_at`;
      // The relay and the worker may be done with the first already; a due time stays as it is.
      expect(await sql(due, user)).toEqual(ids.slice(0, 4).map((id, place) => ({ id, after: place * 0.25 })));
      const early = `SELECT count(*)::integer AS early FROM attempt JOIN notification n ON n.id = notification_id
        WHERE n.user_id = $1 AND n.status = 'delivered' AND number = 2 AND started_at < n.due_at`;
      await herald.drained();
      expect(await sql(early, user)).toEqual([{ early: 0 }]);

      const rest = { filter: { user_id: user, status: 'failed' }, per_second: 1_000 };
      const overRest = await herald.rest('POST', `${LIST}replay/`, rest);
      expect(overRest).toMatchObject({ status: 202, body: { replayed: 1, refused: [], has_more: false } });
      await herald.drained();
      expect(smtp.accepted(email).sort()).toEqual(ids.map((id) => `${id}@herald.example`).sort());
      expect((await readNotification(herald, elsewhere.id)).status).toBe('failed');
    });

    test('many by filter go on behind those that can not be sent again, which are counted out by name', async () => {
      const { user, ids } = await givenFailed(4);
      await herald.sql('notification', 'DELETE FROM content WHERE notification_id = ANY ($1)', [ids.slice(0, 2)]);
      const refused = ids.slice(0, 2).map((notificationId) => ({ notificationId, code: 'CONTENT_GONE' }));
      expect(await replayMany({ userId: user }, { limit: 2 })).toMatchObject({ replayed: 2, refused, hasMore: false });
    });

    test('many by filter keep to their rate over several calls', async () => {
      const { user } = await givenFailed(6);
      await herald.stopPart('email');
      await replayMany({ userId: user }, { perSecond: 4, limit: 3 });
      const { lastDueAt } = await replayMany({ userId: user }, { perSecond: 4, limit: 3 });
      const rows = await sql(`SELECT due_at FROM notification WHERE user_id = $1 ORDER BY due_at`, user);
      const times = rows.map((row) => row['due_at'].getTime());
      for (const [place, time] of times.slice(1).entries()) expect(time - times[place]).toBeGreaterThanOrEqual(249);
      expect(Math.abs(new Date(String(lastDueAt)).getTime() - times.at(-1))).toBeLessThanOrEqual(1);
      await herald.startPart('email');
      await herald.drained();
    });

    test('over REST it is the same', async () => {
      const { id, email } = await givenFailed();
      smtp.script(email, 'accept');
      const answer = await herald.rest('POST', `${LIST}${id}/replay/`, { reason: 'mended' });
      expect(answer).toMatchObject({ status: 202, body: { notification_id: id, status: 'pending', reason: null } });
      await herald.drained();
      expect(await readNotification(herald, id)).toMatchObject({ status: 'delivered' });
      expectProblem(await herald.rest('POST', `${LIST}${id}/replay/`, {}), 409, ['id']);
      expectProblem(await herald.rest('POST', `${LIST}${randomUUID()}/replay/`, {}), 404, ['id']);
    });

    test.each<[string, (id: string) => Promise<unknown>]>([
      ['CONTENT_GONE', (id) => sql('DELETE FROM content WHERE notification_id = $1', id)],
      ['EXPIRED', (id) => sql(`UPDATE notification SET expires_at = now() WHERE id = $1`, id)],
      ['NOT_FAILED', (id) => sql(`UPDATE notification SET status = 'delivered', reason = NULL WHERE id = $1`, id)],
    ])('not one that is %s', async (code, change) => {
      const { id, user } = await givenFailed();
      await change(id);
      const before = await sql('SELECT * FROM notification WHERE id = $1', id);
      await expect(replay(id)).rejects.toMatchObject({ code: 'CONFLICT', field: 'id' });
      const refused = await herald.rest('POST', `${LIST}${id}/replay/`, {});
      expectProblem(refused, 409, ['id']);
      expect(refused.body.errors[0].code).toBe(code);
      // One that has not failed does not fit the filter in the first place.
      const fits = code === 'NOT_FAILED' ? [] : [{ notificationId: id, code }];
      expect(await replayMany({ userId: user })).toMatchObject({ replayed: 0, refused: fits, hasMore: false });
      expect(await sql('SELECT * FROM notification WHERE id = $1', id)).toEqual(before);
    });

    test('is not sent when the channel was switched off meanwhile', async () => {
      const { id, user, email } = await givenFailed();
      smtp.script(email, 'accept');
      await herald.rest('PUT', `/api/v1/users/${user}/preferences`, { email: false, push: true });
      await replay(id);
      await herald.drained();
      expect(await readNotification(herald, id)).toMatchObject({ status: 'failed', reason: 'PREFERENCE_DISABLED' });
      expect(smtp.accepted(email)).toEqual([]);
    });
  });

  describe('discarded', () => {
    test('one keeps its attempts and says who and why; twice is a conflict', async () => {
      const { id } = await givenFailed();
      const { discardNotification } = await herald.graphql(DiscardNotificationDocument, { id, reason: 'known' });
      expect(discardNotification).toMatchObject({ id, status: 'FAILED', reason: 'DISCARDED' });
      const why = `SELECT detail->>'by' AS by, detail->>'why' AS why FROM timeline WHERE notification_id = $1 AND event = 'DISCARDED'`;
      expect(await sql(why, id)).toEqual([{ by: 'admin', why: 'known' }]);
      expect(await readNotification(herald, id)).toMatchObject({ attempts: 1 });
      expectProblem(await herald.rest('POST', `${LIST}${id}/discard/`, { reason: 'again' }), 409, ['id']);
      expectProblem(await herald.rest('POST', `${LIST}${id}/discard/`, {}), 400, ['reason']);
      expectProblem(await herald.rest('POST', `${LIST}${randomUUID()}/discard/`, { reason: 'x' }), 404, ['id']);
    });

    test('many by filter, call by call until there are no more', async () => {
      const { user, ids } = await givenFailed(5);
      expect(await discardMany({ userId: user }, 2)).toEqual({ discarded: 2, hasMore: true });
      expect(await idsOf({ userId: user, reasons: ['DISCARDED'] })).toEqual(ids.slice(0, 2).toReversed());
      const rest = { filter: { user_id: user }, limit: 2, reason: 'old' };
      const overRest = await herald.rest('POST', `${LIST}discard/`, rest);
      expect(overRest).toMatchObject({ status: 200, body: { discarded: 2, has_more: true } });
      expect(await discardMany({ userId: user }, 2)).toEqual({ discarded: 1, hasMore: false });
      expect(await discardMany({ userId: user }, 2)).toEqual({ discarded: 0, hasMore: false });
    });
  });
});
