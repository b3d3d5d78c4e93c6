import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { ProvidersDocument } from '../client/generated/operations.ts';
import { begin, claim } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification } from './given.ts';
import { withConnection } from './locks.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

/** As many requests as the service has connections for. */
const WAITING = `pg_stat_activity
  WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM provider_state%' AND pid <> pg_backend_pid()`;
/** Longer than a worker tries to report; the sweeper looks every 5 s. */
const LEASE_SECONDS = 4;
const SWEPT = { timeoutMs: 20_000 };

describe.skipIf(!hasServices)('recovery', { timeout: 45_000 }, () => {
  let herald: Herald;
  afterEach(() => herald?.stop());

  const givenMany = async (count: number, fields: object = {}) => {
    const user = await givenUser(herald);
    const template = await givenTemplate(herald);
    return Promise.all(Array.from({ length: count }, () => givenSent(herald, user, template, fields)));
  };
  const countRows = async (query: string, values?: unknown[]) =>
    (await herald.sql('notification', `SELECT count(*)::integer AS rows FROM ${query}`, values))[0]?.['rows'];
  const messageIds = async () => (await herald.mails()).map(({ MessageID }) => MessageID).sort();
  const toMessageIds = (ids: string[]) => ids.map((id) => `${id}@herald.example`).sort();

  test('what is delivered while the gateway is away is kept, counts after the lease, and is not sent again', async () => {
    herald = await startHerald({
      parts: ['user', 'template', 'notification', 'gateway'],
      leaseSeconds: LEASE_SECONDS,
      providerTimeoutMs: 1_000,
    });
    const ids = await givenMany(5);
    await herald.stopPart('gateway');
    await herald.startPart('email');

    await until(async () => (await countRows('attempt WHERE finished_at IS NOT NULL')) === ids.length, SWEPT);
    expect(await countRows('attempt WHERE applied_at IS NOT NULL')).toBe(0);
    expect(await countRows(`notification WHERE status = 'pending'`)).toBe(ids.length);
    await herald.drained(SWEPT);
    expect(await countRows(`notification WHERE status = 'delivered' AND attempts = 1`)).toBe(ids.length);
    expect(await countRows(`attempt WHERE class = 'accepted' AND applied_at IS NOT NULL`)).toBe(ids.length);
    expect(await messageIds()).toEqual(toMessageIds(ids));
  });

  test('a worker that is told to stop does not wait long for a gateway that hangs, and keeps what it knows', async () => {
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
    await givenMany(1);
    await herald.stopPart('gateway');
    const reported = Promise.withResolvers<void>();
    const hanging = createServer((socket) => socket.once('data', () => reported.resolve()).on('error', () => {}));
    await once(hanging.listen(Number(new URL(herald.url).port), '127.0.0.1'), 'listening');
    await herald.startPart('email');
    await reported.promise;
    const since = performance.now();
    await herald.stopPart('email');
    expect(performance.now() - since).toBeLessThan(1_500);
    hanging.close();
    expect(await countRows(`attempt WHERE class = 'accepted' AND finished_at IS NOT NULL`)).toBe(1);
  });

  test('what a vanished worker held is taken up when its lease has run out', async () => {
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'], leaseSeconds: LEASE_SECONDS });
    const [claimed, started] = await givenMany(2);
    const [atMostOnce] = await givenMany(1, { on_ambiguous: 'fail' });
    if (!claimed || !started || !atMostOnce) throw new Error('three were sent');
    expect(await claim(herald, claimed, 2)).toBe(1);
    await begin(herald, started, 2);
    await begin(herald, atMostOnce, 2);
    await herald.startPart('email');
    await herald.drained(SWEPT);

    // Nothing was handed over, so it is sent as if for the first time.
    expect(await readNotification(herald, claimed)).toMatchObject({ status: 'delivered', attempts: 1 });
    expect(await mailsOf(herald, claimed)).toHaveLength(1);
    // Nobody knows what became of the first attempt: what the send asked for is done.
    expect(await readNotification(herald, started)).toMatchObject({ status: 'delivered', attempts: 2 });
    expect(await mailsOf(herald, started)).toHaveLength(1);
    expect(await readNotification(herald, atMostOnce)).toMatchObject({ status: 'failed', reason: 'OUTCOME_UNKNOWN' });
    expect(await mailsOf(herald, atMostOnce)).toEqual([]);
  });

  test('requests that hold every connection keep nobody from reporting, and the sweeper from nothing', async () => {
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'], leaseSeconds: LEASE_SECONDS });
    const [reported, vanished] = await givenMany(2);
    if (!reported || !vanished) throw new Error('two were sent');
    const waiting = await withConnection(herald, async (connection) => {
      await connection.query('BEGIN; LOCK TABLE provider_state IN ACCESS EXCLUSIVE MODE');
      const questions = Promise.allSettled(Array.from({ length: 30 }, () => herald.graphql(ProvidersDocument, {})));
      await until(async () => (await countRows(WAITING)) === 20);
      const attempt = { token: await begin(herald, reported), class: 'accepted' };
      const report = { notification_id: reported, status: 'delivered', attempt };
      expect((await herald.rest('POST', '/api/v1/email/status/', report)).status).toBe(200);
      await claim(herald, vanished, 1);
      await until(
        async () => (await countRows('notification WHERE id = $1 AND lease_until IS NULL', [vanished])) === 1,
        SWEPT,
      );
      return questions;
    });
    expect(waiting).toHaveLength(30);
  });

  test('two relays and two sweepers on one database send each of 300 once', async () => {
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'], leaseSeconds: LEASE_SECONDS });
    await herald.addInstance('notification');
    const ids = await givenMany(300);
    // So that the sweepers have something to do too.
    const vanished = ids.slice(0, 50);
    await herald.sql('worker', 'SELECT id FROM claim_jobs($1, $2, 2)', ['email', vanished]);
    await herald.startPart('email');
    await herald.drained({ timeoutMs: 30_000 });

    expect(await messageIds()).toEqual(toMessageIds(ids));
    expect(await countRows(`notification WHERE status = 'delivered' AND attempts = 1`)).toBe(300);
    expect(await countRows(`timeline WHERE event = 'DELIVERED'`)).toBe(300);
    expect(await countRows(`timeline WHERE event = 'QUEUED'`)).toBe(300 + vanished.length);
    expect(await countRows(`notification WHERE token = 2`)).toBe(vanished.length);
  });
});
