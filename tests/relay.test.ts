import { afterEach, describe, expect, inject, test } from 'vitest';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startPrivateRabbitmq, type PrivateRabbitmq } from './services.ts';
import { hasServices, startHerald, type Herald, type HeraldOptions } from './start.ts';
import { until } from './until.ts';

/** RabbitMQ takes its time with alarms, and a confirm is waited for for 5 s. */
const SLOW = { timeoutMs: 20_000 };

describe.skipIf(!hasServices)('the relay', { timeout: 60_000 }, () => {
  let herald: Herald;
  let user: string;
  let template: string;
  let rabbitmq: PrivateRabbitmq | undefined;
  afterEach(async () => {
    await herald?.stop();
    await rabbitmq?.stop();
    rabbitmq = undefined;
  });

  async function start(options: HeraldOptions) {
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'], ...options });
    user = await givenUser(herald);
    template = await givenTemplate(herald);
  }
  const givenMany = async (count: number, fields: object) => {
    const ids: string[] = [];
    for (let left = count; left > 0; left -= 1) ids.push(await givenSent(herald, user, template, fields));
    return ids;
  };
  /** What was published, in that order. */
  const published = async () =>
    (
      await herald.sql(
        'notification',
        `SELECT notification_id FROM timeline WHERE event = 'QUEUED' ORDER BY timeline.id`,
      )
    ).map((row) => row['notification_id'] as string);

  test('keeps the queue short; the backlog waits in PostgreSQL, and the most urgent goes first', async () => {
    await start({ queueDepthMax: 3, concurrency: 1 });
    const low = await givenMany(8, { priority: 1 });
    await until(async () => (await published()).length === 3);
    const high = await givenMany(3, { priority: 10 });
    const middle = await givenMany(1, { priority: 5 });
    expect(await published()).toHaveLength(3);
    await herald.startPart('email');
    await herald.drained();
    expect(await published()).toEqual([...low.slice(0, 3), ...high, ...middle, ...low.slice(3)]);
  });

  test('finds what became due long ago, although it looked later than that already', async () => {
    await start({});
    const [id] = await givenMany(1, { send_at: new Date(Date.now() + 3_600_000).toISOString() });
    const [first] = await givenMany(1, {});
    await until(async () => (await published()).includes(first ?? ''));
    // As one that another relay held, and let go of when it died.
    for (const update of [
      'notification SET due_at = $2 WHERE id = $1',
      'outbox SET due_at = $2 WHERE notification_id = $1',
    ])
      await herald.sql('notification', `UPDATE ${update}`, [id, new Date(Date.now() - 3_600_000)]);
    await until(async () => (await published()).includes(id ?? ''), { timeoutMs: 15_000 });
  });

  const hasOwn = inject('privateServices').rabbitmq;
  test.skipIf(!hasOwn)(
    'pauses while the broker is in an alarm, counts what it did not take, and goes on after it',
    async () => {
      rabbitmq = await startPrivateRabbitmq();
      await start({ amqpUrl: rabbitmq.url });
      await givenMany(1, {});
      await until(async () => (await published()).length === 1);
      await rabbitmq.ctl('set_vm_memory_high_watermark', 'absolute', '1');
      const ids = await givenMany(3, {});
      const open = async (path: string) =>
        JSON.stringify((await herald.rest('GET', `${herald.urlOf('notification')}${path}`)).body);
      await until(async () => (await open('/ready')).includes('blocked'), SLOW);
      await until(
        async () =>
          /herald_unpublished_total{[^}]*unconfirmed[^}]*} [1-9]/.test((await open('/metrics')).replaceAll('\\', '')),
        SLOW,
      );
      const later = await givenMany(2, {});
      await rabbitmq.ctl('set_vm_memory_high_watermark', '0.6');
      await until(async () => (await published()).length === 6, SLOW);
      expect((await published()).toSorted()).toEqual([...(await published()).slice(0, 1), ...ids, ...later].toSorted());
    },
  );
});
