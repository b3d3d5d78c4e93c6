import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { givenSent, givenTemplate, givenUser, sendBody } from './given.ts';
import { startPrivateRabbitmq, startPrivateRedis, type PrivateRabbitmq, type PrivateRedis } from './services.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const BACK = { timeoutMs: 20_000 };

const { rabbitmq: hasRabbitmq, redis: hasRedis } = inject('privateServices');

describe.skipIf(!hasServices || !hasRabbitmq || !hasRedis)('without its broker', { timeout: 60_000 }, () => {
  let rabbitmq: PrivateRabbitmq;
  let redis: PrivateRedis;
  let herald: Herald;
  beforeAll(async () => {
    [rabbitmq, redis] = await Promise.all([startPrivateRabbitmq(), startPrivateRedis()]);
  });
  afterEach(() => herald?.stop());
  afterAll(() => Promise.all([rabbitmq?.stop(), redis?.stop()]));

  const messageIds = async () => (await herald.mails()).map(({ MessageID }) => MessageID).sort();
  const toMessageIds = (ids: string[]) => ids.map((id) => `${id}@herald.example`).sort();
  const published = () =>
    until(async () => (await herald.sql('notification', 'SELECT 1 FROM outbox')).length === 0, BACK);

  test('and without Redis a send is accepted all the same, and goes out when they are back', async () => {
    herald = await startHerald({ amqpUrl: rabbitmq.url, redisUrl: redis.url });
    const user = await givenUser(herald);
    const template = await givenTemplate(herald);
    const first = await givenSent(herald, user, template);
    await herald.drained();

    await Promise.all([rabbitmq.kill9(), redis.kill9()]);
    const checksOf = async (part: 'notification' | 'email') =>
      (await herald.rest('GET', `${herald.urlOf(part)}/ready`)).body.checks;
    await until(async () => (await checksOf('email')).cache.state === 'down');
    await until(async () => (await checksOf('notification')).broker.state === 'down');
    expect(await checksOf('notification')).toMatchObject({ postgres: { state: 'up' } });
    const away = { state: 'down', required: false, error: expect.any(String) };
    for (const [part, checks] of [
      ['gateway', { broker: away, cache: away }],
      ['user', { cache: away }],
      ['template', { cache: away }],
      ['notification', { broker: away }],
    ] as const)
      expect(await herald.rest('GET', `${herald.urlOf(part)}/ready`), part).toMatchObject({
        status: 200,
        body: { status: 'degraded', checks },
      });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => herald.rest('POST', '/api/v1/notifications/', sendBody(user, template))),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(202));

    await Promise.all([rabbitmq.restart(), redis.restart()]);
    await herald.drained(BACK);
    const ids = [first, ...answers.map(({ body }) => body.notification_id)];
    expect(await messageIds()).toEqual(toMessageIds(ids));
  });

  test('what it had published is published again when the broker has lost its data, and sent once', async () => {
    herald = await startHerald({ amqpUrl: rabbitmq.url });
    const user = await givenUser(herald);
    const template = await givenTemplate(herald);
    const sent = await givenSent(herald, user, template);
    await herald.drained();
    await herald.stopPart('email');
    const waiting = await Promise.all(Array.from({ length: 20 }, () => givenSent(herald, user, template)));
    await published();

    for (const step of ['stop_app', 'reset', 'start_app']) await rabbitmq.ctl(step);
    await herald.startPart('email');
    await herald.drained(BACK);
    expect(await messageIds()).toEqual(toMessageIds([sent, ...waiting]));
    const queued = `SELECT count(*)::integer AS times FROM timeline WHERE event = 'QUEUED' GROUP BY notification_id ORDER BY 1`;
    const times = (await herald.sql('notification', queued)).map((row) => row['times']);
    expect(times).toEqual([1, ...Array<number>(20).fill(2)]);
  });

  test('a broker that keeps its data over a restart is sent nothing twice', async () => {
    herald = await startHerald({ amqpUrl: rabbitmq.url });
    const user = await givenUser(herald);
    const template = await givenTemplate(herald);
    await herald.stopPart('email');
    const ids = await Promise.all(Array.from({ length: 20 }, () => givenSent(herald, user, template)));
    await published();

    // In order: a killed node may lose the queue that marks it, declared up to 2 s before, and then all is published again.
    for (const step of ['stop_app', 'start_app']) await rabbitmq.ctl(step);
    const ready = () => herald.rest('GET', `${herald.urlOf('notification')}/ready`);
    await until(async () => (await ready()).body.checks.broker.state === 'up', BACK);
    // The relay asks for the mark before it publishes, so this one comes after that.
    const last = await givenSent(herald, user, template);
    await published();
    await herald.startPart('email');
    await herald.drained(BACK);
    expect(await messageIds()).toEqual(toMessageIds([...ids, last]));
    const queued = `SELECT count(*)::integer AS times FROM timeline WHERE event = 'QUEUED'`;
    expect(await herald.sql('notification', queued)).toEqual([{ times: 21 }]);
  });
});
