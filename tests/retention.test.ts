import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readConfig } from '../subgraphs/notification/config.ts';
import { ConfigError } from '../platform/env.ts';
import { CancelNotificationDocument } from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { isWaiting, withConnection } from './locks.ts';
import { startHerald, type Herald } from './start.ts';
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
