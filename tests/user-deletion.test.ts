import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { NO_TRACING } from '../platform/tracing.ts';
import { DeleteUserDocument, NotificationDocument, UserDocument } from '../client/generated/operations.ts';
import { preferencesKey } from '../contracts/preferences.ts';
import type { Running } from '../platform/lifecycle.ts';
import { startUser } from '../subgraphs/user/start.ts';
import { takeAll } from './amqp.ts';
import { begin, claim, expireLease, giveBack, startAttempt } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification, sendBody } from './given.ts';
import { isWaiting, withConnection } from './locks.ts';
import { expectProblem } from './problem.ts';
import { startPrivateRedis, type PrivateRedis } from './services.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';

const HOUR_MS = 3_600_000;
const SLOW = { timeoutMs: 15_000 };

let herald: Herald;
let template: string;
beforeAll(async () => {
  herald = await startHerald();
  template = await givenTemplate(herald, { locale: 'en' });
});
afterAll(() => herald?.stop());

const inAnHour = () => new Date(Date.now() + HOUR_MS).toISOString();
const sql = (text: string, ...values: unknown[]) => herald.sql('notification', text, values);
const deleteUser = (id: string) => herald.graphql(DeleteUserDocument, { id });
const read = (id: string) => readNotification(herald, id);
/** Everybody has heard of it. */
const told = (options = {}) =>
  until(async () => (await herald.sql('user', 'SELECT FROM user_outbox')).length === 0, options);
/** Ends the wait between two tries, as time would. */
const hurry = () => herald.sql('user', 'UPDATE user_outbox SET due_at = now()');

/** One with an address that is found again wherever it is. */
async function givenPerson() {
  const email = `${randomUUID()}@example.com`;
  return { email, user: await givenUser(herald, { name: `Ada ${email}`, email }) };
}
const givenMail = (user: string, fields: object = {}) => givenSent(herald, user, template, fields);
const givenLater = (user: string) => givenMail(user, { send_at: inAnHour() });

/** Where a text still stands in notifications_db. */
async function findText(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const table of ['notification', 'content', 'attempt', 'timeline', 'outbox', 'feed', 'feed_in', 'request_key']) {
    const rows = await sql(`SELECT FROM ${table} AS it WHERE it::text LIKE '%' || $1 || '%'`, text);
    if (rows.length > 0) found.push(table);
  }
  return found;
}

const readCached = async (url: string, user: string): Promise<unknown> => {
  const redis = new Redis(url);
  try {
    const prefix = herald.names.direct.replace('notifications.direct', '');
    return JSON.parse((await redis.hget(preferencesKey(prefix, user), 'value')) ?? 'null');
  } finally {
    await redis.quit();
  }
};

describe('a user who is deleted', () => {
  test('gets nothing any more: what waits is cancelled, and what happened is kept without personal data', async () => {
    const { email, user } = await givenPerson();
    const delivered = await givenMail(user, { metadata: { order: email } });
    await herald.drained();
    await herald.stopPart('email');
    const [waiting, later] = [await givenMail(user), await givenLater(user)];
    const pushed = await givenMail(user, { notification_type: 'push', send_at: inAnHour() });
    const somebodys = await givenMail(await givenUser(herald));
    expect(await findText(email)).toEqual(['notification', 'content', 'attempt']);

    expect(await deleteUser(user)).toEqual({ deleteUser: true });
    await told();
    expect(await findText(email)).toEqual([]);
    expect(await sql('SELECT FROM content JOIN notification ON id = notification_id WHERE user_id = $1', user)).toEqual(
      [],
    );
    for (const id of [waiting, later, pushed]) {
      const { timeline, ...rest } = await read(id);
      expect(rest).toMatchObject({ status: 'failed', reason: 'CANCELLED', attempts: 0, metadata: {} });
      expect(timeline.slice(-2)).toEqual(['CANCELLED', 'ERASED']);
      const why = `SELECT detail->>'why' AS why FROM timeline WHERE notification_id = $1 AND event = 'CANCELLED'`;
      expect(await sql(why, id)).toEqual([{ why: 'the user was deleted' }]);
    }
    expect(await read(delivered)).toMatchObject({ status: 'delivered', attempts: 1, metadata: {} });
    const { notification } = await herald.graphql(NotificationDocument, { id: delivered });
    expect(notification).toMatchObject({ status: 'DELIVERED', user: null, template: { code: template } });
    expect((await herald.graphql(UserDocument, { id: user })).user).toBeNull();

    await herald.startPart('email');
    await until(async () => (await read(somebodys)).status === 'delivered');
    expect(await mailsOf(herald, waiting)).toEqual([]);
  });

  test('is deleted over REST too, once; and nothing can be sent to them', async () => {
    const { user } = await givenPerson();
    const path = `/api/v1/users/${user}`;
    expect(await herald.rest('DELETE', path)).toMatchObject({ status: 204, body: '' });
    expectProblem(await herald.rest('DELETE', path), 404, ['id']);
    expectProblem(await herald.rest('GET', path), 404);
    await expect(givenMail(user)).rejects.toThrow(/404/);
    await expect(deleteUser(user)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(deleteUser('ada')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test.skipIf(!hasServices)('leaves a tombstone in the cache, so that no worker sends', async () => {
    const { user } = await givenPerson();
    const id = await givenMail(user);
    await until(async () => (await read(id)).status === 'delivered');
    await deleteUser(user);
    await told();
    expect(await readCached(inject('redisUrl') ?? '', user)).toEqual({ deleted: true });
  });

  test('whose mail a worker holds: what it reports counts, and it is not tried again', async () => {
    await herald.stopPart('email');
    const { email, user } = await givenPerson();
    const [sent, gone, lost] = [await givenMail(user), await givenMail(user), await givenMail(user)];
    const tokens = [await begin(herald, sent), await begin(herald, gone), await begin(herald, lost)];
    await deleteUser(user);
    await told();
    expect(await findText(email)).toEqual([]);
    for (const id of [sent, gone, lost]) expect(await read(id)).toMatchObject({ status: 'pending' });

    const report = (id: string, status: string, attempt: object) =>
      herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status, attempt });
    await report(sent, 'delivered', { token: tokens[0], class: 'accepted' });
    const said = [{ target: email, class: 'transient', reason: `${email} is busy` }];
    await report(gone, 'pending', {
      token: tokens[1],
      class: 'transient',
      reason: `450 ${email} is busy`,
      results: said,
    });
    await expireLease(herald, lost);
    await giveBack(herald, lost);
    await sql(`INSERT INTO outbox (notification_id, key, priority, due_at) VALUES ($1, 'email', 5, now())`, lost);
    await herald.startPart('email');
    for (const id of [gone, lost]) {
      await until(async () => (await read(id)).status === 'failed', SLOW);
      expect(await read(id)).toMatchObject({ reason: 'CANCELLED', attempts: 1 });
      expect(await mailsOf(herald, id)).toEqual([]);
    }
    expect(await read(sent)).toMatchObject({ status: 'delivered' });
    expect(await findText(email)).toEqual([]);
    if (hasServices) expect(await takeAll(herald.amqpUrl, herald.names.queues.failed)).toEqual([]);
  });

  test('whose mail a worker holds: what it keeps says nothing of them, and it opens no further attempt', async () => {
    await herald.stopPart('email');
    const { email, user } = await givenPerson();
    const [kept, claimed] = [await givenMail(user), await givenMail(user)];
    const token = await begin(herald, kept);
    const other = await claim(herald, claimed);
    await deleteUser(user);
    await told();
    const outcome = { notification_id: kept, token, class: 'transient', reason: email, results: [{ target: email }] };
    const keep = await herald.sql('worker', 'SELECT id FROM keep_outcomes($1)', [JSON.stringify([outcome])]);
    expect(keep).toEqual([{ id: kept }]);
    expect(await startAttempt(herald, claimed, other ?? 0)).toBeUndefined();
    expect(await findText(email)).toEqual([]);
    await herald.startPart('email');
  });

  test('gets nothing of a send that had read of them before, and it is stored nowhere', async () => {
    const { email, user } = await givenPerson();
    const sending = await withConnection(herald, async (connection) => {
      // The first step of an erasure, as slow as it can be.
      await connection.query('BEGIN; LOCK TABLE erased_user IN EXCLUSIVE MODE');
      const sent = herald.rest('POST', '/api/v1/notifications/', sendBody(user, template, { send_at: inAnHour() }));
      await until(() => isWaiting(herald, 'INSERT INTO request_key'));
      await connection.query('INSERT INTO erased_user (user_id) VALUES ($1)', [user]);
      await connection.query('COMMIT');
      return sent;
    });
    expectProblem(sending, 404, ['user_id']);
    expect(await findText(email)).toEqual([]);
    expect(await sql('SELECT FROM notification WHERE user_id = $1', user)).toEqual([]);
  });

  test('is erased only after a send of theirs that is being stored', async () => {
    const { email, user } = await givenPerson();
    const body = sendBody(user, template, { send_at: inAnHour() });
    const { status, body: sent } = await withConnection(herald, async (connection) => {
      // The send's own statement has begun, and waits to see who takes its key.
      await connection.query('BEGIN');
      await connection.query(
        `INSERT INTO request_key (client_id, request_id, hash, hash_version, notification_id)
         VALUES ('admin', $1, '', 1, gen_random_uuid())`,
        [body.request_id],
      );
      const sending = herald.rest('POST', '/api/v1/notifications/', body);
      await until(() => isWaiting(herald, 'INSERT INTO request_key'));
      await deleteUser(user);
      await until(() => isWaiting(herald, 'LOCK TABLE erased_user'));
      await connection.query('ROLLBACK');
      return sending;
    });
    expect(status).toBe(202);
    await told(SLOW);
    expect(await findText(email)).toEqual([]);
    expect(await read(sent.notification_id)).toMatchObject({ status: 'failed', reason: 'CANCELLED' });
  });
});

describe('a user who is deleted while somebody is away', () => {
  test('is told of when the notification service comes back', async () => {
    const { email, user } = await givenPerson();
    const later = await givenLater(user);
    await herald.stopPart('notification');
    await deleteUser(user);
    // It was tried, in vain, and will be again.
    const postponed = 'SELECT FROM user_outbox WHERE due_at > now()';
    await until(async () => (await herald.sql('user', postponed)).length === 1, SLOW);
    expect(await findText(email)).toEqual(['notification', 'content']);
    await herald.startPart('notification');
    await hurry();
    await told(SLOW);
    expect(await read(later)).toMatchObject({ status: 'failed', reason: 'CANCELLED' });
    expect(await findText(email)).toEqual([]);
  });

  describe.skipIf(!inject('privateServices').redis)('with a Redis of its own', () => {
    let redis: PrivateRedis;
    let users: Running;
    beforeAll(async () => {
      redis = await startPrivateRedis();
      await herald.stopPart('user');
      const [row] = await herald.sql('user', 'SELECT current_database() AS name');
      const databaseUrl = new URL(inject('postgresUrl'));
      databaseUrl.pathname = `/${row?.['name']}`;
      users = await startUser(
        {
          host: '127.0.0.1',
          port: Number(new URL(herald.urlOf('user')).port),
          logLevel: 'debug',
          tracing: NO_TRACING,
          databaseUrl: databaseUrl.href,
          redisUrl: redis.url,
          cachePrefix: herald.names.direct.replace('notifications.direct', ''),
          adminApiKey: herald.adminApiKey,
          secret: herald.secrets.user,
          notificationUrl: herald.urlOf('notification'),
          notificationSecret: herald.secrets.notification,
          jwtKeys: [{ id: 'story', secret: 'x'.repeat(32) }],
          trustedProxies: [],
          rates: { clientPerMinute: 0, userPerMinute: 0, addressPerMinute: 0 },
          session: { accessSeconds: 900, refreshDays: 30 },
        },
        { log: createTestLogger('user') },
      );
    });
    afterAll(async () => {
      await users?.stop();
      await redis?.stop();
    });

    test('is told of when Redis comes back; and so are the preferences that changed meanwhile', async () => {
      const deleted = await givenPerson();
      const changed = await givenPerson();
      const later = await givenLater(deleted.user);
      await redis.kill9();
      await deleteUser(deleted.user);
      const off = { email: false, push: true };
      const path = `/api/v1/users/${changed.user}/preferences`;
      expect(await herald.rest('PUT', path, off)).toMatchObject({ status: 200, body: off });
      const postponed = 'SELECT FROM user_outbox WHERE due_at > now()';
      await until(async () => (await herald.sql('user', postponed)).length === 2, SLOW);

      await redis.restart();
      await until(
        async () => {
          await hurry();
          return (await herald.sql('user', 'SELECT FROM user_outbox')).length === 0;
        },
        { ...SLOW, everyMs: 500 },
      );
      expect(await readCached(redis.url, changed.user)).toMatchObject({ ...off, contactVersion: 1 });
      expect(await readCached(redis.url, deleted.user)).toEqual({ deleted: true });
      expect(await read(later)).toMatchObject({ status: 'failed', reason: 'CANCELLED' });
      expect(await findText(deleted.email)).toEqual([]);
    });
  });
});
