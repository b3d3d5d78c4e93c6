import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { CancelNotificationDocument, FeedDocument } from '../client/generated/operations.ts';
import { ConfigError } from '../platform/env.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createPool } from '../platform/postgres.ts';
import { readConfig } from '../subgraphs/notification/config.ts';
import { createCounters } from '../subgraphs/notification/counters.ts';
import { purge } from '../subgraphs/notification/retention.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { isWaiting, withConnection } from './locks.ts';
import { startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';

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

const sql = (text: string, ...values: unknown[]) => herald.sql('notification', text, values);
const inAnHour = () => new Date(Date.now() + HOUR_MS).toISOString();
const outboxOf = (id: string) => sql('SELECT key FROM outbox WHERE notification_id = $1', id);
const dropOld = async (months = 24) => (await sql('SELECT drop_old_months($1) AS dropped', months))[0]?.['dropped'];

describe('months of notifications', () => {
  /** One of long ago, in a month of its own. @returns its id */
  async function givenOld(moment: string, status = 'failed'): Promise<string> {
    await sql('SELECT ensure_month($1)', moment);
    const [row] = await sql(
      `INSERT INTO notification (id, client_id, request_id, type, user_id, template_code, template_version, locale, priority,
         on_ambiguous, status, reason, due_at, contact_version)
       SELECT uuid_floor($1), 'admin', $1::text, 'email', gen_random_uuid(), 't', 1, 'en', 5, 'resend', $2,
         CASE $2 WHEN 'failed' THEN 'CANCELLED' END, now() + interval '1 hour', 1
       RETURNING id`,
      moment,
      status,
    );
    return row?.['id'];
  }
  const isKept = async (id: string) => (await sql('SELECT FROM notification WHERE id = $1', id)).length === 1;

  test('go when they are old, and not one day before', async () => {
    const old = await givenOld('2019-03-15T00:00:00Z');
    const young = await givenSent(herald, user, template, { send_at: inAnHour() });
    expect(await dropOld()).toBe(1);
    expect(await isKept(old)).toBe(false);
    expect(await isKept(young)).toBe(true);
    expect(await dropOld()).toBe(0);
  });

  test('stay while anything in them is pending', async () => {
    const pending = await givenOld('2019-04-15T00:00:00Z', 'pending');
    expect(await dropOld()).toBe(0);
    await sql(`UPDATE notification SET status = 'delivered' WHERE id = $1`, pending);
    expect(await dropOld()).toBe(1);
  });

  test('stay while anything of them is still to be published', async () => {
    const ended = await givenOld('2019-05-15T00:00:00Z');
    await sql(
      `INSERT INTO outbox (notification_id, key, priority, due_at) VALUES ($1, 'email', 5, now() + interval '1 hour')`,
      ended,
    );
    expect(await dropOld()).toBe(0);
    await sql('DELETE FROM outbox WHERE notification_id = $1', ended);
    expect(await dropOld()).toBe(1);
  });

  test('are made and dropped without holding anybody up behind an idle reader', async () => {
    const old = await givenOld('2019-06-15T00:00:00Z');
    await withConnection(herald, async (reader) => {
      await reader.query('BEGIN; SELECT FROM notification, feed LIMIT 1');
      await sql(`SELECT ensure_month('2019-07-15'), ensure_feed_partition(77000000)`);
      await expect(dropOld()).rejects.toThrow('lock timeout');
      expect(await isKept(old)).toBe(true);
      await reader.query('COMMIT');
    });
    expect(await dropOld()).toBe(2);
  });

  test('stay when a replay was quicker than the drop', async () => {
    const replayed = await givenOld('2019-08-15T00:00:00Z');
    const dropped = await withConnection(herald, async (connection) => {
      await connection.query('BEGIN');
      await connection.query(`UPDATE notification SET status = 'pending', reason = NULL WHERE id = $1`, [replayed]);
      const dropping = dropOld();
      await until(() => isWaiting(herald, 'SELECT drop_old_months'));
      await connection.query('COMMIT');
      return dropping;
    });
    expect(dropped).toBe(0);
    await sql(`UPDATE notification SET status = 'delivered' WHERE id = $1`, replayed);
    expect(await dropOld()).toBe(1);
  });

  test('are kept for longer than a send may wait', () => {
    expect(() => readConfig({ NOTIFICATION_RETENTION_MONTHS: '12' })).toThrow(ConfigError);
    expect(() => readConfig({ NOTIFICATION_RETENTION_MONTHS: '12' })).toThrow(
      'NOTIFICATION_RETENTION_MONTHS is wrong: must be at least 13',
    );
  });
});

test('an outbox row whose notification is gone goes too, and holds up no other', async () => {
  const [row] = await sql(
    `INSERT INTO outbox (notification_id, key, priority, due_at) VALUES (uuid_floor('2018-01-01'), 'email', 10, now())
     RETURNING notification_id AS id`,
  );
  const id = await givenSent(herald, user, template);
  await until(async () => (await readNotification(herald, id)).timeline.includes('QUEUED'));
  await until(async () => (await outboxOf(row?.['id'])).length === 0);
});

describe('nothing waits to be published of what has ended', () => {
  test.each<[string, (id: string) => Promise<unknown>]>([
    ['cancelled', (id) => herald.graphql(CancelNotificationDocument, { id })],
    [
      'delivered, as its client says',
      (notification_id) => herald.rest('POST', '/api/v1/email/status/', { notification_id, status: 'delivered' }),
    ],
  ])('%s', async (_, end) => {
    const id = await givenSent(herald, user, template, { send_at: inAnHour() });
    expect(await outboxOf(id)).toEqual([{ key: 'email' }]);
    await end(id);
    expect(await outboxOf(id)).toEqual([]);
  });
});

describe('what is purged', () => {
  const retention = { contentDays: 30, requestIdDays: 365, feedHours: 72, months: 24 };
  const purgeNow = async () => {
    const [row] = await sql('SELECT current_database() AS name');
    const url = new URL(inject('postgresUrl'));
    url.pathname = `/${row?.['name']}`;
    const log = createTestLogger('retention');
    const pool = createPool(url.href, { max: 1, log });
    try {
      await purge({ pool, retention, counters: createCounters(createMetrics('story')), log });
    } finally {
      await pool.end();
    }
  };
  const readFeed = async (after?: string) => (await herald.graphql(FeedDocument, { after, first: 100 })).feed;
  const numbered = () => until(async () => (await sql('SELECT FROM feed_in')).length === 0);
  const head = async () => Number((await sql('SELECT max(seq) AS head FROM feed'))[0]?.['head']);

  test('of content: that of notifications which ended long ago, and only those', async () => {
    const send = () => givenSent(herald, user, template, { send_at: inAnHour() });
    const [ended, lately, waiting] = [await send(), await send(), await send()];
    for (const id of [ended, lately]) await herald.graphql(CancelNotificationDocument, { id });
    const [aged] = await sql(
      `SELECT ensure_month(now() - interval '40 days'), uuid_floor(now() - interval '40 days') AS id`,
    );
    await sql(
      `UPDATE notification SET ended_at = now() - interval '31 days', id = $2 WHERE id = $1`,
      ended,
      aged?.['id'],
    );
    await sql('UPDATE content SET notification_id = $2 WHERE notification_id = $1', ended, aged?.['id']);
    await purgeNow();
    const kept = await sql('SELECT notification_id AS id FROM content WHERE notification_id = ANY ($1)', [
      aged?.['id'],
      lately,
      waiting,
    ]);
    expect(kept.map(({ id }) => id).sort()).toEqual([lately, waiting].sort());
  });

  test('of request keys: those of more than a year ago', async () => {
    const requestIds = ['old', 'young'];
    for (const request_id of requestIds) await givenSent(herald, user, template, { request_id });
    await sql(`UPDATE request_key SET created_at = now() - interval '366 days' WHERE request_id = 'old'`);
    await purgeNow();
    const kept = await sql('SELECT request_id FROM request_key WHERE request_id = ANY ($1)', requestIds);
    expect(kept).toEqual([{ request_id: 'young' }]);
  });

  test('of providers: how workers saw them that are gone', async () => {
    for (const worker of ['gone', 'here'])
      await herald.sql('worker', `SELECT note_provider($1, 'email', 'smtp', 'closed', NULL)`, [worker]);
    await sql(`UPDATE provider_state SET seen_at = now() - interval '2 days' WHERE worker = 'gone'`);
    await purgeNow();
    expect(await sql('SELECT worker FROM provider_state')).toEqual([{ worker: 'here' }]);
  });

  test('of the feed: from its beginning to the first that is young, so that what is left has no hole', async () => {
    const start = (await readFeed()).endCursor;
    const ids = [];
    for (let count = 0; count < 5; count += 1) ids.push(await givenSent(herald, user, template));
    await numbered();
    const { events } = await readFeed(start);
    const last = await head();
    // The third is young, the fourth old: numbers are not always given in the order of the times.
    await sql(`UPDATE feed SET at = now() - interval '73 hours' WHERE seq <= $1 AND seq <> $1 - 1`, last - 1);
    await purgeNow();
    const [lowest] = await sql('SELECT min(seq)::integer AS seq, count(*)::integer AS count FROM feed');
    expect(lowest).toEqual({ seq: last - 2, count: 3 });
    await expect(readFeed(events[0]?.cursor)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
    const rest = await readFeed(events[1]?.cursor);
    expect(rest.events.map(({ notificationId }) => notificationId)).toEqual(ids.slice(2));
  });

  test('of the feed: all, with its emptied partitions; numbers go on where they were', async () => {
    await numbered();
    await sql('UPDATE feed_state SET floor = 2000000');
    const { endCursor } = await readFeed();
    await sql(`UPDATE feed SET at = now() - interval '73 hours'`);
    await purgeNow();
    const parts = `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'feed'::regclass ORDER BY 1`;
    expect((await sql(parts)).map(({ name }) => name)).not.toContain('feed_0');
    expect((await sql(parts)).map(({ name }) => name)).toContain('feed_2');
    const id = await givenSent(herald, user, template);
    await numbered();
    expect(await head()).toBe(2_000_001);
    expect((await readFeed(endCursor)).events).toMatchObject([{ notificationId: id }]);
  });
});

test('a database that is restored under a running process begins a new epoch, and old cursors expire', async () => {
  const read = async (after?: string) => (await herald.graphql(FeedDocument, { after, first: 1 })).feed.endCursor;
  const cursor = await read();
  expect(await read(cursor)).toBe(cursor);
  // As pg_restore --clean does.
  await sql(`DO $$ BEGIN
    CREATE TABLE saved (LIKE feed_state INCLUDING ALL);
    INSERT INTO saved TABLE feed_state;
    DROP TABLE feed_state;
    ALTER TABLE saved RENAME TO feed_state;
  END $$`);
  await until(async () => {
    await expect(read(cursor)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
    return true;
  });
  const next = await read();
  expect(await read(next)).toBe(next);
});
