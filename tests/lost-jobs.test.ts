import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createPool, type Pool } from '../platform/postgres.ts';
import { requeueLong } from '../subgraphs/notification/outbox.ts';
import { takeAll, withChannel } from './amqp.ts';
import { claim } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification } from './given.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';

/** Jobs that the broker lost although its mark is still there: a queue that somebody purged or deleted. */
describe.skipIf(!hasServices)('jobs that the broker lost', () => {
  let herald: Herald;
  let pool: Pool;
  let user: string;
  let template: string;
  beforeAll(async () => {
    // A long lease, so that the sweeper itself keeps out of it.
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'], leaseSeconds: 600 });
    pool = createPool(herald.databaseUrl('notification'), { max: 2, log: createTestLogger('sweeper') });
    user = await givenUser(herald);
    template = await givenTemplate(herald);
  });
  afterAll(async () => {
    await pool?.end();
    await herald?.stop();
  });

  // What one test left behind must not count in the next.
  afterEach(() =>
    herald.sql(
      'notification',
      `UPDATE notification SET status = 'failed', reason = 'CANCELLED' WHERE status = 'pending'`,
    ),
  );

  const outboxOf = (id: string) =>
    herald.sql('notification', 'SELECT key, priority FROM outbox WHERE notification_id = $1', [id]);
  const requeuesOf = async (id: string) =>
    (await herald.sql('notification', 'SELECT requeues FROM notification WHERE id = $1', [id]))[0]?.['requeues'];
  const published = (times: number, id: string) =>
    until(async () => {
      const { timeline } = await readNotification(herald, id);
      return timeline.filter((event: string) => event === 'QUEUED').length === times;
    });
  const age = (id: string, minutes: number) =>
    herald.sql('notification', `UPDATE notification SET due_at = now() - $2 * interval '1 minute' WHERE id = $1`, [
      id,
      minutes,
    ]);
  const purge = () => withChannel(herald.amqpUrl, (channel) => channel.purgeQueue(herald.names.queues.email));

  /** Sent, published, and lost with its queue's content. */
  async function givenLost(fields: object = {}): Promise<string> {
    const id = await givenSent(herald, user, template, fields);
    await published(1, id);
    await purge();
    return id;
  }

  test('are published again after 5 minutes, then after twice as long each time, with one row at most', async () => {
    const id = await givenLost({ priority: 9 });
    await age(id, 4.9);
    expect(await requeueLong(pool, 'email', true)).toBe(0);

    let times = 1;
    for (const [waitMinutes, requeues] of [
      [5, 1],
      [10, 2],
      [20, 3],
    ] as const) {
      await age(id, waitMinutes - 0.1);
      expect(await requeueLong(pool, 'email', true), `before ${waitMinutes} min`).toBe(0);
      await age(id, waitMinutes + 0.1);
      expect(await requeueLong(pool, 'email', true), `after ${waitMinutes} min`).toBe(1);
      expect(await requeuesOf(id)).toBe(requeues);
      times += 1;
      await published(times, id);
    }
    expect(await takeAll(herald.amqpUrl, herald.names.queues.email)).toHaveLength(3);
  });

  test('have one row at most, whoever looks, and however often', async () => {
    const id = await givenLost();
    await herald.stopPart('notification');
    await age(id, 6);
    const looks = await Promise.all(Array.from({ length: 4 }, () => requeueLong(pool, 'email', true)));
    await age(id, 10_000);
    looks.push(await requeueLong(pool, 'email', true));
    expect(looks.sort()).toEqual([0, 0, 0, 0, 1]);
    expect(await outboxOf(id)).toEqual([{ key: 'email', priority: 5 }]);
    await herald.startPart('notification');
    await published(2, id);
    await purge();
  });

  test.each<[string, (id: string) => Promise<unknown>]>([
    ['leased', (id) => claim(herald, id)],
    [
      'delivered',
      (notification_id) => herald.rest('POST', '/api/v1/email/status/', { notification_id, status: 'delivered' }),
    ],
  ])('are left alone when they are %s', async (_, meanwhile) => {
    const id = await givenLost();
    await meanwhile(id);
    await age(id, 60 * 24);
    expect(await requeueLong(pool, 'email', true)).toBe(0);
    expect(await outboxOf(id)).toEqual([]);
  });

  test('are left alone while they may still wait in a long queue, for an hour', async () => {
    const id = await givenLost();
    await age(id, 59);
    expect(await requeueLong(pool, 'email', false)).toBe(0);
    expect(await requeueLong(pool, 'push', true)).toBe(0);
    await age(id, 61);
    expect(await requeueLong(pool, 'email', false)).toBe(1);
    await published(2, id);
    await purge();
  });

  test('are delivered once when the worker comes; a claim ends the doubling', async () => {
    const id = await givenLost();
    await age(id, 6);
    expect(await requeueLong(pool, 'email', true)).toBe(1);
    await published(2, id);
    await age(id, 11);
    expect(await requeueLong(pool, 'email', true)).toBe(1);
    await published(3, id);
    await herald.startPart('email');
    await until(async () => (await readNotification(herald, id)).status === 'delivered');
    await herald.stopPart('email');
    expect(await takeAll(herald.amqpUrl, herald.names.queues.email)).toEqual([]);
    expect(await mailsOf(herald, id)).toHaveLength(1);
    expect(await requeuesOf(id)).toBe(0);
  });
});
