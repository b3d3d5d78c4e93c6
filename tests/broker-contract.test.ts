import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { BrokerUnavailable, type BrokerState, type IncomingMessage } from '../platform/broker/broker.ts';
import { createEmbeddedBroker } from '../platform/broker/embedded.ts';
import { createRabbitmqBroker } from '../platform/broker/rabbitmq.ts';
import { brokerRoom } from './broker-room.ts';
import { until } from './until.ts';

const amqpUrl = inject('amqpUrl');

describe.each([
  { adapter: 'embedded', url: null, available: true },
  { adapter: 'RabbitMQ', url: amqpUrl, available: amqpUrl !== null },
])('the $adapter broker', ({ url, available }) => {
  const it = test.skipIf(!available);
  const room = brokerRoom(
    (options) => (url === null ? createEmbeddedBroker(options) : createRabbitmqBroker(url, options)),
    url,
  );
  afterEach(room.clear);

  it('hands a published message to a consumer, with its body, key and ids', async () => {
    const { broker, names, send } = await room.enter();
    const received: IncomingMessage[] = [];
    broker.consume(names.work, { concurrency: 1 }, async (message) => {
      received.push(message);
      return 'ack';
    });

    expect(await send('hello', { messageId: 'm-1', correlationId: 'c-1' })).toBe('confirmed');

    const [message] = await until(() => received.length === 1 && received);
    expect(message).toMatchObject({ key: 'work', messageId: 'm-1', correlationId: 'c-1', redelivered: false });
    expect(String(message?.body)).toBe('hello');
    await until(async () => (await broker.depth(names.work)) === 0);
  });

  it('says unroutable when no queue is bound to the key', async () => {
    const { broker, names, send } = await room.enter();
    const outcomes = await Promise.all([
      broker.publish({ exchange: names.direct, key: 'nobody', body: Buffer.from('lost') }),
      send('kept'),
      broker.publish({ exchange: names.direct, key: 'nobody', body: Buffer.from('lost') }),
    ]);
    expect(outcomes).toEqual(['unroutable', 'confirmed', 'unroutable']);
  });

  it('rejects a publish to an exchange that does not exist, and works on afterwards', async () => {
    const { broker, send } = await room.enter();
    await expect(
      broker.publish({ exchange: `no-${randomUUID()}`, key: 'work', body: Buffer.from('x') }),
    ).rejects.toBeInstanceOf(BrokerUnavailable);
    await until(() => send('hello').then((outcome) => outcome === 'confirmed'));
  });

  it('delivers the highest of three levels first, in order within a level', async () => {
    const { broker, names, send } = await room.enter();
    for (const [body, level] of [
      ['low-1', 1],
      ['high-1', 3],
      ['mid-1', 2],
      ['low-2', 1],
      ['high-2', 3],
      ['mid-2', 2],
    ] as const) {
      await send(body, { level });
    }
    const order: string[] = [];
    broker.consume(names.work, { concurrency: 1 }, async ({ body }) => {
      order.push(String(body));
      return 'ack';
    });
    await until(() => order.length === 6);
    expect(order).toEqual(['high-1', 'high-2', 'mid-1', 'mid-2', 'low-1', 'low-2']);
  });

  it('runs as many handlers at a time as the concurrency says, and never more', async () => {
    const { broker, names, send } = await room.enter();
    const gate = Promise.withResolvers<void>();
    let running = 0;
    let most = 0;
    let done = 0;
    broker.consume(names.work, { concurrency: 3 }, async () => {
      most = Math.max(most, ++running);
      await gate.promise;
      running--;
      done++;
      return 'ack';
    });
    await Promise.all(Array.from({ length: 12 }, (_, index) => send(`${index}`)));
    await until(() => running === 3);
    gate.resolve();
    await until(() => done === 12);
    expect(most).toBe(3);
  });

  it('delivers a requeued message again and marks it', async () => {
    const { broker, names, send } = await room.enter();
    const seen: boolean[] = [];
    broker.consume(names.work, { concurrency: 1 }, async ({ redelivered }) => {
      seen.push(redelivered);
      return redelivered ? 'ack' : 'requeue';
    });
    await send('again');
    await until(() => seen.length === 2);
    expect(seen).toEqual([false, true]);
  });

  it('survives handlers that throw, and delivers their message again after a second', async () => {
    const { broker, names, send, logged } = await room.enter();
    const times: number[] = [];
    broker.consume(names.work, { concurrency: 1 }, (): Promise<'ack'> => {
      times.push(performance.now());
      if (times.length === 1) throw new Error('thrown in the open');
      if (times.length === 2) return Promise.reject(new Error('rejected'));
      return Promise.resolve('ack');
    });
    await send('poison');
    await until(() => times.length === 3);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(950);
    expect(logged('error')).toHaveLength(2);
    expect(await send('after')).toBe('confirmed');
    await until(() => times.length === 4);
  });

  it('takes nothing while paused, keeps the messages in the queue, and gets them at resume', async () => {
    const { broker, names, send } = await room.enter();
    const gate = Promise.withResolvers<void>();
    const received: string[] = [];
    const consumer = broker.consume(names.work, { concurrency: 2 }, async ({ body }) => {
      received.push(String(body));
      await gate.promise;
      return 'ack';
    });
    for (const body of ['1', '2', '3', '4', '5']) await send(body);
    await until(() => received.length === 2);

    await Promise.all([consumer.pause(), consumer.pause()]);
    gate.resolve();
    await until(async () => (await broker.depth(names.work)) === 3);
    expect(received).toEqual(['1', '2']);

    await Promise.all([consumer.resume(), consumer.resume()]);
    await until(() => received.length === 5);
    expect(received).toEqual(['1', '2', '3', '4', '5']);
  });

  it('settles on the last of many pauses and resumes in a row', async () => {
    const { broker, names, send } = await room.enter();
    let received = 0;
    const consumer = broker.consume(names.work, { concurrency: 1 }, async () => {
      received++;
      return 'ack';
    });
    await Promise.all([consumer.pause(), consumer.resume(), consumer.pause(), consumer.pause(), consumer.resume()]);
    await send('1');
    await until(() => received === 1);
    await Promise.all([consumer.resume(), consumer.pause()]);
    await send('2');
    expect(await broker.depth(names.work)).toBe(1);
    expect(received).toBe(1);
    await Promise.all([consumer.pause(), consumer.resume()]);
    await until(() => received === 2);
  });

  it('can be paused by its own handler, and resumed before that handler has ended', async () => {
    const { broker, names, send } = await room.enter();
    const gate = Promise.withResolvers<void>();
    let running = 0;
    let most = 0;
    let done = 0;
    const consumer = broker.consume(names.work, { concurrency: 1 }, async () => {
      most = Math.max(most, ++running);
      await consumer.pause();
      await gate.promise;
      running--;
      done++;
      return 'ack';
    });
    await send('1');
    await send('2');
    await until(() => running === 1);
    await consumer.resume();
    await broker.depth(names.work);
    expect(running).toBe(1);
    gate.resolve();
    await until(() => done === 2);
    expect(most).toBe(1);
  });

  it('waits for running handlers when a consumer stops, and takes no more', async () => {
    const { broker, names, send } = await room.enter();
    const gate = Promise.withResolvers<void>();
    let started = 0;
    const consumer = broker.consume(names.work, { concurrency: 1 }, async () => {
      started++;
      await gate.promise;
      return 'ack';
    });
    await send('1');
    await send('2');
    await until(() => started === 1);

    let stopped = false;
    const stopping = consumer.stop().then(() => (stopped = true));
    await broker.depth(names.work);
    expect(stopped).toBe(false);
    gate.resolve();
    await stopping;
    await until(async () => (await broker.depth(names.work)) === 1);
    expect(started).toBe(1);
  });

  it('finishes what is in flight when the broker object stops, then refuses', async () => {
    const { broker, names, send } = await room.enter();
    const gate = Promise.withResolvers<void>();
    const states: BrokerState[] = [];
    broker.onStateChange((state) => states.push(state));
    let published: string | undefined;
    let started = false;
    broker.consume(names.work, { concurrency: 1 }, async () => {
      started = true;
      await gate.promise;
      published = await broker.publish({ exchange: names.direct, key: 'failed', body: Buffer.from('x') });
      return 'ack';
    });
    await send('1');
    await until(() => started);
    const stopping = Promise.all([broker.stop(), broker.stop()]);
    gate.resolve();
    await stopping;
    expect(published).toBe('confirmed');
    expect(broker.state).toBe('stopped');
    expect(states).toEqual(['stopped']);
    await expect(send('2')).rejects.toBeInstanceOf(BrokerUnavailable);
    await expect(broker.depth(names.work)).rejects.toBeInstanceOf(BrokerUnavailable);
  });

  it('counts the messages that are ready, not those in work', async () => {
    const { broker, names, send } = await room.enter();
    const gate = Promise.withResolvers<void>();
    for (const [index, level] of [1, 2, 3].entries()) await send(`${index}`, { level });
    expect(await broker.depth(names.work)).toBe(3);
    broker.consume(names.work, { concurrency: 1 }, async () => {
      await gate.promise;
      return 'ack';
    });
    await until(async () => (await broker.depth(names.work)) === 2);
    gate.resolve();
    await until(async () => (await broker.depth(names.work)) === 0);
  });

  it('drops the oldest beyond the length of a bounded queue', async () => {
    const { broker, names } = await room.enter();
    for (const body of ['1', '2', '3', '4', '5'])
      await broker.publish({ exchange: names.direct, key: 'failed', body: Buffer.from(body) });
    await until(async () => (await broker.depth(names.failed)) === 3);
    const kept: string[] = [];
    broker.consume(names.failed, { concurrency: 1 }, async ({ body }) => {
      kept.push(String(body));
      return 'ack';
    });
    await until(() => kept.length === 3);
    expect(kept).toEqual(['3', '4', '5']);
  });

  it('tells whether a queue exists, and declares one', async () => {
    const { broker, names } = await room.enter();
    expect(await broker.queueExists(names.work)).toBe(true);
    expect(await broker.queueExists(names.mark)).toBe(false);
    await broker.declareQueue(names.mark);
    await broker.declareQueue(names.mark);
    expect(await broker.queueExists(names.mark)).toBe(true);
    expect(await broker.depth(names.mark)).toBe(0);
  });

  it('brings announcements to every listener whose pattern fits, after telling each of its gap once', async () => {
    const { broker, names } = await room.enter();
    const heard = { all: [] as string[], also: [] as string[], one: [] as string[] };
    const gaps: string[] = [];
    const listen = (name: keyof typeof heard, pattern: string) =>
      broker.listen(
        { exchange: names.events, pattern, maxLength: 100, onGap: () => gaps.push(name) },
        ({ key, body }) => {
          heard[name].push(`${key}:${String(body)}`);
          throw new Error('a listener that fails');
        },
      );
    const [all] = [listen('all', 'user.#'), listen('also', 'user.#'), listen('one', 'user.*.1')];
    await until(() => gaps.length === 3);

    broker.announce(names.events, 'user.a.1', Buffer.from('x'));
    broker.announce(names.events, 'user.b.2', Buffer.from('y'));
    broker.announce(names.events, 'other', Buffer.from('z'));
    await until(() => heard.all.length === 2 && heard.also.length === 2 && heard.one.length === 1);
    expect(heard.all).toEqual(['user.a.1:x', 'user.b.2:y']);
    expect(heard.one).toEqual(['user.a.1:x']);

    await all?.stop();
    broker.announce(names.events, 'user.c.1', Buffer.from('w'));
    await until(() => heard.also.length === 3 && heard.one.length === 2);
    expect(heard.all).toHaveLength(2);
    expect(gaps).toHaveLength(3);
  });

  it('brings a burst of announcements to a listener in order, none lost', async () => {
    const { broker, names } = await room.enter();
    const heard: number[] = [];
    let ready = false;
    broker.listen({ exchange: names.events, pattern: '#', maxLength: 5_000, onGap: () => (ready = true) }, ({ body }) =>
      heard.push(Number(body)),
    );
    await until(() => ready);
    for (let number = 0; number < 2_000; number++) broker.announce(names.events, 'burst', Buffer.from(String(number)));
    await until(() => heard.length === 2_000);
    expect(heard).toEqual(Array.from({ length: 2_000 }, (_, index) => index));
  });
});
