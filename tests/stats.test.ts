import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import {
  DiscardNotificationDocument,
  NotificationStatsDocument,
  ReplayNotificationDocument,
  SendNotificationsDocument,
  type NotificationStatsQuery,
  type NotificationStatsQueryVariables,
} from '../client/generated/operations.ts';
import { toUserViewer } from '../contracts/scopes.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createPool } from '../platform/postgres.ts';
import { createCounters } from '../subgraphs/notification/counters.ts';
import { COUNTS } from '../subgraphs/notification/find-stats.ts';
import { purge } from '../subgraphs/notification/retention.ts';
import { askAs, toClient } from './as-viewer.ts';
import { begin, giveBack } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, sendBody } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';
import { postSendgrid, sendgridBounce, webhookKeys } from './webhook-senders.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let herald: Herald;
let user: string;
let email: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'], webhookKeys });
  email = `${randomUUID()}@example.com`;
  [user, template] = await Promise.all([givenUser(herald, { email }), givenTemplate(herald)]);
});
afterAll(() => herald?.stop());

type Buckets = NotificationStatsQuery['notificationStats'];
type Bucket = Buckets[number];

const sql = (text: string, ...values: unknown[]) => herald.sql('notification', text, values);
const ago = (ms: number) => new Date(Date.now() - ms).toISOString();
const stats = async (variables: NotificationStatsQueryVariables): Promise<Buckets> =>
  (await herald.graphql(NotificationStatsDocument, variables)).notificationStats;
const counted = () => until(async () => (await sql('SELECT count(*)::integer FROM feed_in'))[0]?.['count'] === 0);
const report = (id: string, attempt: object | undefined, status: string, type = 'email') =>
  herald.rest('POST', `/api/v1/${type}/status/`, { notification_id: id, status, ...(attempt && { attempt }) });

/** All that was counted around the present, as one; an hour may end while a story runs. */
async function totals(type?: 'EMAIL' | 'PUSH') {
  await counted();
  const buckets = await stats({ since: ago(HOUR_MS), notificationType: type });
  const sum = (of: (bucket: Bucket) => number) => buckets.reduce((total, bucket) => total + of(bucket), 0);
  const reasons: Record<string, number> = {};
  for (const { reason, count } of buckets.flatMap(({ failuresByReason }) => failuresByReason))
    reasons[reason] = (reasons[reason] ?? 0) + count;
  return {
    accepted: sum(({ accepted }) => accepted),
    delivered: sum(({ delivered }) => delivered),
    failed: sum(({ failed }) => failed),
    returned: sum(({ returned }) => returned),
    retriesScheduled: sum(({ retriesScheduled }) => retriesScheduled),
    replayed: sum(({ replayed }) => replayed),
    discarded: sum(({ discarded }) => discarded),
    reasons,
  };
}
type Totals = Awaited<ReturnType<typeof totals>>;

/** What a story added to the counts. */
async function during(story: () => Promise<unknown>, type?: 'EMAIL' | 'PUSH'): Promise<Totals> {
  const before = await totals(type);
  await story();
  const after = await totals(type);
  const reasons = Object.entries(after.reasons).map(([reason, count]) => [
    reason,
    count - (before.reasons[reason] ?? 0),
  ]);
  return {
    accepted: after.accepted - before.accepted,
    delivered: after.delivered - before.delivered,
    failed: after.failed - before.failed,
    returned: after.returned - before.returned,
    retriesScheduled: after.retriesScheduled - before.retriesScheduled,
    replayed: after.replayed - before.replayed,
    discarded: after.discarded - before.discarded,
    reasons: Object.fromEntries(reasons.filter(([, count]) => count !== 0)),
  };
}

const NOTHING: Totals = {
  accepted: 0,
  delivered: 0,
  failed: 0,
  returned: 0,
  retriesScheduled: 0,
  replayed: 0,
  discarded: 0,
  reasons: {},
};

describe('statistics count what happened', () => {
  async function givenEnded(outcome: string, fields: object = {}) {
    const id = await givenSent(herald, user, template, fields);
    const status = outcome === 'accepted' ? 'delivered' : 'failed';
    await report(id, { token: await begin(herald, id), class: outcome }, status);
    return id;
  }

  test('once each: acceptance, retries that use up a try, delivery; a repeated requestId is nothing new', async () => {
    const happened = await during(async () => {
      const request_id = randomUUID();
      const id = await givenSent(herald, user, template, { request_id });
      expect(await givenSent(herald, user, template, { request_id })).toBe(id);
      for (const outcome of ['transient', 'not_sent', 'unknown']) {
        await report(id, { token: await begin(herald, id), class: outcome }, 'pending');
        await giveBack(herald, id);
      }
      const attempt = { token: await begin(herald, id), class: 'accepted' };
      await report(id, attempt, 'delivered');
      await report(id, attempt, 'delivered');
    });
    expect(happened).toEqual({ ...NOTHING, accepted: 1, retriesScheduled: 2, delivered: 1 });
  });

  test('failures by reason; refused sends not at all', async () => {
    const happened = await during(async () => {
      await givenEnded('permanent');
      await givenEnded('permanent');
      const id = await givenSent(herald, user, template);
      await herald.rest('POST', `/api/v1/notifications/${id}/cancel/`, {});
      await herald.rest('POST', '/api/v1/notifications/', sendBody(randomUUID(), template));
    });
    expect(happened).toEqual({ ...NOTHING, accepted: 3, failed: 3, reasons: { REJECTED: 2, CANCELLED: 1 } });
  });

  test('a bounce as a failure of what stays counted as delivered; its replay and what comes of that', async () => {
    const happened = await during(async () => {
      const id = await givenEnded('accepted');
      const bounce = () => postSendgrid(herald, [sendgridBounce({ email, notification_id: id })]);
      await bounce();
      await bounce();
      await herald.graphql(ReplayNotificationDocument, { id });
      await report(id, { token: await begin(herald, id), class: 'accepted' }, 'delivered');
    });
    expect(happened).toEqual({
      ...NOTHING,
      accepted: 1,
      delivered: 2,
      failed: 1,
      returned: 1,
      replayed: 1,
      reasons: { BOUNCED: 1 },
    });
    await sql('DELETE FROM suppression');
  });

  test('a discard as a discard, not as a second failure', async () => {
    const happened = await during(async () => {
      const id = await givenEnded('permanent');
      await herald.graphql(DiscardNotificationDocument, { id, reason: 'seen' });
    });
    expect(happened).toEqual({ ...NOTHING, accepted: 1, failed: 1, discarded: 1, reasons: { REJECTED: 1 } });
  });

  test('of one type, when asked so', async () => {
    const story = async () => {
      await givenSent(herald, user, template, { notification_type: 'push' });
      await givenSent(herald, user, template);
    };
    expect(await during(story, 'PUSH')).toEqual({ ...NOTHING, accepted: 1 });
    expect(await during(story, 'EMAIL')).toEqual({ ...NOTHING, accepted: 1 });
    expect(await during(story)).toEqual({ ...NOTHING, accepted: 2 });
  });

  test('exactly, with many who write and two processes that count', async () => {
    await herald.addInstance('notification');
    const happened = await during(async () => {
      const sends = Array.from({ length: 8 }, async (_, writer) => {
        const inputs = Array.from({ length: 50 }, () => ({
          notificationType: 'EMAIL' as const,
          userId: user,
          templateCode: template,
          variables: { name: 'Ada' },
          // Every request is made twice.
          requestId: `writer ${Math.floor(writer / 2)} ${randomUUID()}`,
        }));
        const twice = [...inputs, ...inputs.slice(0, 10)];
        return (await herald.graphql(SendNotificationsDocument, { inputs: twice })).sendNotifications;
      });
      const ids = new Set((await Promise.all(sends)).flat().map(({ notification }) => notification?.id ?? ''));
      expect(ids.size).toBe(400);
      const outcomes = ['delivered', 'failed'];
      await Promise.all([...ids].map((id, place) => report(id, undefined, outcomes[place % 4] ?? 'delivered')));
    });
    expect(happened).toEqual({ ...NOTHING, accepted: 400, delivered: 300, failed: 100, reasons: { REJECTED: 100 } });
  });

  test('so that over all of it they come to what is in the table', async () => {
    const { accepted, replayed, delivered, failed, returned } = await totals();
    const [row] =
      await sql(`SELECT count(*)::integer AS accepted, count(*) FILTER (WHERE status = 'delivered')::integer AS delivered,
      count(*) FILTER (WHERE status = 'pending')::integer AS pending FROM notification`);
    expect({ accepted, delivered: delivered - returned }).toEqual({
      accepted: row?.['accepted'],
      // One bounced mail was delivered again.
      delivered: row?.['delivered'],
    });
    expect(accepted + replayed - delivered - (failed - returned)).toBe(row?.['pending']);
  });

  test('and forget nothing when a user is deleted', async () => {
    const [somebody, before] = [await givenUser(herald), await totals()];
    await givenSent(herald, somebody, template);
    await herald.rest('DELETE', `/api/v1/users/${somebody}`);
    await until(async () => (await totals()).failed === before.failed + 1);
    expect((await totals()).accepted).toBe(before.accepted + 1);
    const columns = await sql(
      `SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'status_count'`,
    );
    expect(columns.map(({ name }) => name).sort()).toEqual(['client_id', 'count', 'hour', 'reason', 'type', 'what']);
  });
});

describe('buckets', () => {
  const changed = (at: string, type = 'email') =>
    sql(
      `INSERT INTO feed_in (notification_id, version, type, user_id, client_id, request_id, status, attempt, at)
       VALUES (gen_random_uuid(), 1, $1, gen_random_uuid(), 'past', 'r', 'pending', 0, $2)`,
      type,
      at,
    );
  const accepted = (buckets: Buckets) =>
    buckets.map(({ start, end, notificationType, accepted }) => [start, end, notificationType, accepted]);

  test('of an hour hold what happened from its first moment to the last before the next; empty ones are told too', async () => {
    for (const at of ['2021-03-28T00:59:59.999999Z', '2021-03-28T01:00:00Z', '2021-03-28T01:59:59.999Z'])
      await changed(at);
    await changed('2021-03-28T03:30:00+02:00', 'push');
    await counted();
    const window = { since: '2021-03-28T00:10:00Z', until: '2021-03-28T03:00:00Z' };
    const hours = ['00', '01', '02', '03'].map((hour) => `2021-03-28T${hour}:00:00.000Z`);
    expect(accepted(await stats({ ...window, notificationType: 'EMAIL' }))).toEqual([
      [hours[0], hours[1], 'EMAIL', 1],
      [hours[1], hours[2], 'EMAIL', 2],
      [hours[2], hours[3], 'EMAIL', 0],
    ]);
    expect(accepted(await stats(window)).map(([start, , type, count]) => [start, type, count])).toEqual([
      [hours[0], 'EMAIL', 1],
      [hours[0], 'PUSH', 0],
      [hours[1], 'EMAIL', 2],
      [hours[1], 'PUSH', 1],
      [hours[2], 'EMAIL', 0],
      [hours[2], 'PUSH', 0],
    ]);
    // One moment is enough for the whole bucket that holds it.
    const moment = { since: '2021-03-28T01:59:59.999Z', until: '2021-03-28T02:00:00Z' };
    expect(accepted(await stats({ ...moment, notificationType: 'EMAIL' }))).toEqual([[hours[1], hours[2], 'EMAIL', 2]]);
  });

  test('of a day go by UTC', async () => {
    for (const at of ['2022-06-01T23:59:59.999Z', '2022-06-02T00:00:00Z', '2022-06-02T23:00:00Z']) await changed(at);
    await counted();
    const days = { since: '2022-06-01T12:00:00Z', until: '2022-06-03T00:00:00Z', bucket: 'DAY' as const };
    expect(accepted(await stats({ ...days, notificationType: 'EMAIL' }))).toEqual([
      ['2022-06-01T00:00:00.000Z', '2022-06-02T00:00:00.000Z', 'EMAIL', 1],
      ['2022-06-02T00:00:00.000Z', '2022-06-03T00:00:00.000Z', 'EMAIL', 2],
    ]);
  });

  test('are at most a thousand, and end with the one that holds the present', async () => {
    const buckets = await stats({ since: ago(999 * HOUR_MS), notificationType: 'PUSH' });
    expect(buckets).toHaveLength(1_000);
    expect(Date.parse(buckets.at(-1)?.end ?? '')).toBeGreaterThan(Date.now());
    expect(Date.parse(buckets.at(-1)?.start ?? '')).toBeLessThanOrEqual(Date.now());
  });

  const NOON = '2021-03-28T12:00:00Z';
  test.each<[string, NotificationStatsQueryVariables, string, string]>([
    ['until before since', { since: NOON, until: '2021-03-28T11:00:00Z' }, 'until', 'INVALID'],
    ['until the same as since', { since: NOON, until: NOON }, 'until', 'INVALID'],
    ['since in the future, without until', { since: ago(-HOUR_MS) }, 'since', 'INVALID'],
    [
      '1,001 hours',
      { since: NOON, until: new Date(Date.parse(NOON) + 1_001 * HOUR_MS).toISOString() },
      'since',
      'TOO_LONG',
    ],
    ['1,001 days', { since: ago(1_001 * DAY_MS), bucket: 'DAY' }, 'since', 'TOO_LONG'],
    ['all of time', { since: '0001-01-01T00:00:00Z', until: '9999-12-31T23:59:59Z' }, 'since', 'TOO_LONG'],
    ['the year 0', { since: '0000-01-01T00:00:00Z' }, 'since', 'INVALID'],
    ['no date', { since: 'yesterday' }, 'since', ''],
    ['a day that there is not', { since: '2021-02-30T00:00:00Z' }, 'since', ''],
    ['a date without a time', { since: '2021-02-28' }, 'since', ''],
    ['no date in until', { since: NOON, until: '' }, 'until', ''],
  ])('%s is refused', async (_, variables, field, faultCode) => {
    const { body } = await herald.rest('POST', '/graphql', {
      query: NotificationStatsDocument.toString(),
      variables,
    });
    expect(body.data ?? null).toBeNull();
    expect(body.errors).toHaveLength(1);
    const [error] = body.errors;
    expect(error.extensions.code).toBe('BAD_USER_INPUT');
    expect(error.message).toContain(field);
    // What is no date GraphQL refuses before Herald does.
    if (faultCode !== '') expect(error.extensions).toMatchObject({ field, errors: [{ field, code: faultCode }] });
  });
});

describe('who asks', () => {
  test('a client sees its own counts, the admin all, a user none', async () => {
    const at = '2020-01-01T12:00:00Z';
    for (const client of ['mine', 'mine', 'other'])
      await sql(
        `INSERT INTO feed_in (notification_id, version, type, user_id, client_id, request_id, status, attempt, at)
         VALUES (gen_random_uuid(), 1, 'email', gen_random_uuid(), $1, 'r', 'pending', 0, $2)`,
        client,
        at,
      );
    await counted();
    const variables = { since: at, until: '2020-01-01T13:00:00Z', notificationType: 'EMAIL' as const };
    const seenBy = async (id: string) =>
      (await askAs(herald, toClient(id), NotificationStatsDocument, variables)).data?.notificationStats[0]?.accepted;
    expect([await seenBy('mine'), await seenBy('other'), await seenBy('nobody')]).toEqual([2, 1, 0]);
    expect((await stats(variables))[0]?.accepted).toBe(3);
    const { errors } = await askAs(herald, toUserViewer(user), NotificationStatsDocument, variables);
    expect(errors).toMatchObject([
      { message: expect.stringContaining('use an API key'), extensions: { code: 'FORBIDDEN' } },
    ]);
  });

  test('no notification is read for it, whatever was asked', async () => {
    const now = new Date();
    for (const [client, type] of [
      [null, null],
      ['mine', 'email'],
    ]) {
      const plan = await sql(`EXPLAIN (FORMAT JSON) ${COUNTS}`, new Date(0), now, 'day', client, type);
      const relations = [...JSON.stringify(plan).matchAll(/"Relation Name":"([^"]+)"/g)].map(([, name]) => name);
      expect(relations).toEqual(['status_count']);
    }
  });
});

test('counts go with the months of the notifications, not before', async () => {
  const log = createTestLogger('retention');
  const [row] = await sql('SELECT current_database() AS name');
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${row?.['name']}`;
  const months = 24;
  const insert = `INSERT INTO status_count VALUES (date_trunc('month', now(), 'UTC') - make_interval(months => $1) - $2 * interval '1 hour', 'aged', 'email', 'accepted', NULL, 1)`;
  await sql(insert, months, 0);
  await sql(insert, months, 1);
  const pool = createPool(url.href, { max: 1, log });
  try {
    const retention = { contentDays: 30, requestIdDays: 365, feedHours: 72, months };
    await purge({ pool, retention, counters: createCounters(createMetrics('story')), log });
  } finally {
    await pool.end();
  }
  const [kept] = await sql(`SELECT count(*)::integer, min(hour) AS hour FROM status_count WHERE client_id = 'aged'`);
  expect(kept?.['count']).toBe(1);
  expect(kept?.['hour'].toISOString()).toMatch(/-01T00:00:00.000Z$/);
});
