import { connect } from 'amqplib';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { BrokerUnavailable, type BrokerState } from '../platform/broker/broker.ts';
import { createRabbitmqBroker } from '../platform/broker/rabbitmq.ts';
import { brokerRoom } from './broker-room.ts';
import { startPrivateRabbitmq, type PrivateRabbitmq } from './services.ts';
import { until } from './until.ts';

const UP = { timeoutMs: 15_000 };

describe.skipIf(!inject('privateServices').rabbitmq)('RabbitMQ and its faults', { timeout: 60_000 }, () => {
  let rabbitmq: PrivateRabbitmq;
  let url: string;
  const room = brokerRoom((options) => createRabbitmqBroker(url, options), null);

  beforeAll(async () => {
    rabbitmq = await startPrivateRabbitmq();
    url = rabbitmq.url;
  });
  afterEach(async () => {
    await room.clear();
    url = rabbitmq.url;
  });
  afterAll(() => rabbitmq?.stop());

  test('a broker object starts with RabbitMQ away, says so, and connects when it comes', async () => {
    await rabbitmq.kill9();
    const { broker, names, send, logged } = await room.enter({ waitUntilUp: false });
    const states: BrokerState[] = [];
    broker.onStateChange((state) => states.push(state));
    const received: string[] = [];
    let gaps = 0;
    broker.consume(names.work, { concurrency: 1 }, async ({ body }) => {
      received.push(String(body));
      return 'ack';
    });
    broker.listen({ exchange: names.events, pattern: '#', maxLength: 10, onGap: () => gaps++ }, () => {});

    await until(() => logged('warn').length > 0);
    expect(broker.state).toBe('connecting');
    await expect(send('early')).rejects.toBeInstanceOf(BrokerUnavailable);
    await expect(broker.queueExists(names.work)).rejects.toBeInstanceOf(BrokerUnavailable);
    broker.announce(names.events, 'early', Buffer.from('dropped'));

    await rabbitmq.restart();
    await until(() => broker.state === 'up', UP);
    expect(await send('late')).toBe('confirmed');
    await until(() => received.length === 1 && gaps === 1);
    expect(states).toEqual(['up']);
    expect(logged('warn').length).toBeLessThan(5);
  });

  test('nothing confirmed is lost to kill -9, what was not is reported, consumers resume by themselves', async () => {
    const { broker, names, send } = await room.enter();
    const states: BrokerState[] = [];
    broker.onStateChange((state) => states.push(state));
    const received = new Set<string>();
    let gaps = 0;
    broker.consume(names.work, { concurrency: 10 }, async ({ body }) => {
      received.add(String(body));
      return 'ack';
    });
    broker.listen({ exchange: names.events, pattern: '#', maxLength: 10, onGap: () => gaps++ }, () => {});
    await until(() => gaps === 1);

    const bodies = Array.from({ length: 500 }, (_, index) => `${index}`);
    const publishing = Promise.allSettled(bodies.map((body) => send(body)));
    await rabbitmq.kill9();
    const outcomes = await publishing;
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    expect(failures.length).toBeGreaterThan(0);
    expect(failures.every((failure) => failure instanceof BrokerUnavailable)).toBe(true);
    await until(() => broker.state === 'connecting');
    await expect(send('meanwhile')).rejects.toBeInstanceOf(BrokerUnavailable);

    await rabbitmq.restart();
    await until(() => broker.state === 'up', UP);
    expect(await send('after')).toBe('confirmed');
    const confirmed = bodies.filter((_, index) => outcomes[index]?.status === 'fulfilled');
    await until(() => [...confirmed, 'after'].every((body) => received.has(body)));
    await until(() => gaps === 2);
    expect(states).toEqual(['connecting', 'up']);
  });

  test('a frozen RabbitMQ: publish is given up after 5 s, stop does not wait for it', async () => {
    const { broker, names, send } = await room.enter();
    const consumer = broker.consume(names.work, { concurrency: 1 }, async () => 'ack');
    await send('1');
    await until(async () => (await broker.depth(names.work)) === 0);
    await rabbitmq.freeze();
    try {
      const started = performance.now();
      await Promise.all([
        expect(send('2')).rejects.toThrow('no confirm within 5000 ms'),
        expect(broker.depth(names.work)).rejects.toBeInstanceOf(BrokerUnavailable),
        consumer.pause(),
      ]);
      await broker.stop();
      expect(performance.now() - started).toBeLessThan(25_000);
    } finally {
      rabbitmq.thaw();
    }
  });

  test('a channel that opens after it was given up leaves no consumer behind', async () => {
    const { broker, names, send, logged } = await room.enter();
    let received = 0;
    const consumer = broker.consume(names.work, { concurrency: 1 }, async () => {
      received++;
      return 'ack';
    });
    const connection = await connect(url);
    const channel = await connection.createChannel();
    const consumers = async () => (await channel.checkQueue(names.work)).consumerCount;
    await until(async () => (await consumers()) === 1);
    await consumer.pause();

    await rabbitmq.freeze();
    await consumer.resume();
    await until(() => logged('warn').length > 0, UP).finally(() => rabbitmq.thaw());
    await send('1');
    await until(() => received === 1, UP);
    await until(async () => (await consumers()) === 1, UP);
    await consumer.pause();
    await until(async () => (await consumers()) === 0);
    await connection.close();
  });

  test('a memory alarm shows as blocked: publish is refused at once, consumers go on, and it ends by itself', async () => {
    const { broker, names, send } = await room.enter();
    for (const body of ['1', '2', '3']) await send(body);
    await rabbitmq.ctl('set_vm_memory_high_watermark', 'absolute', '1');
    // RabbitMQ tells a connection of the alarm when it publishes; that message waits for the alarm's end.
    const waiting = send('4').catch((error: unknown) => error);
    await until(() => broker.state === 'blocked', UP);
    await expect(send('5')).rejects.toBeInstanceOf(BrokerUnavailable);

    let received = 0;
    broker.consume(names.work, { concurrency: 1 }, async () => {
      received++;
      return 'ack';
    });
    await until(() => received === 3);
    await until(async () => (await broker.depth(names.work)) === 0);

    await rabbitmq.ctl('set_vm_memory_high_watermark', '0.6');
    await until(() => broker.state === 'up', UP);
    await waiting;
    expect(await send('6')).toBe('confirmed');
    await until(() => received === 5);
  });

  test('a queue that exists with other arguments is used as it stands, with one warning', async () => {
    const first = await room.enter();
    await first.broker.stop();
    const connection = await connect(url);
    const channel = await connection.createChannel();
    await channel.deleteQueue(first.names.work);
    await channel.assertQueue(first.names.work, { durable: true, maxPriority: 9 });
    await connection.close();

    const { broker, names, send, logged } = await room.enter({ names: first.names });
    const received: string[] = [];
    broker.consume(names.work, { concurrency: 1 }, async ({ body }) => {
      received.push(String(body));
      return 'ack';
    });
    expect(await send('hello')).toBe('confirmed');
    await until(() => received.length === 1);
    expect(logged('warn').map(({ fields }) => fields)).toMatchObject([{ name: names.work }]);
  });

  test('a deleted queue is declared again and consumed from', async () => {
    const { broker, names, send } = await room.enter();
    const received: string[] = [];
    broker.consume(names.work, { concurrency: 1 }, async ({ body }) => {
      received.push(String(body));
      return 'ack';
    });
    await send('before');
    await until(() => received.length === 1);
    const connection = await connect(url);
    const channel = await connection.createChannel();
    await channel.deleteQueue(names.work);
    await connection.close();

    await until(() => broker.queueExists(names.work));
    await until(async () => (await send('after')) === 'confirmed');
    await until(() => received.includes('after'));
  });

  test('quorum queues work too', async () => {
    const { broker, names, send, logged } = await room.enter({ queueType: 'quorum' });
    const received: string[] = [];
    broker.consume(names.work, { concurrency: 2 }, async ({ body }) => {
      received.push(String(body));
      return 'ack';
    });
    expect(await send('hello', { level: 3 })).toBe('confirmed');
    await until(() => received.length === 1);
    await broker.declareQueue(names.mark);
    expect(await broker.queueExists(names.mark)).toBe(true);
    expect(logged('warn')).toEqual([]);
  });

  test.each([
    [
      'a wrong password',
      (right: string) => right.replace('guest:guest', 'guest:s3cret'),
      'refuses the user or the password',
    ],
    ['a virtual host that does not exist', (right: string) => `${right}/nowhere`, 'virtual host'],
  ])('%s is said in one line, without the password', async (_, spoil, reason) => {
    url = spoil(rabbitmq.url);
    const { broker, logged, send } = await room.enter({ waitUntilUp: false });
    await until(() => logged('warn').length > 0, UP);
    await expect(send('x')).rejects.toBeInstanceOf(BrokerUnavailable);
    await broker.stop();
    expect(JSON.stringify(logged('warn'))).toContain(reason);
    expect(JSON.stringify(logged('warn'))).not.toContain('s3cret');
    expect(logged('warn')).toHaveLength(1);
  });
});
