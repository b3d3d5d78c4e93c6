import { Broker as Smqp, type ConsumeMessage } from 'smqp';
import { BrokerUnavailable, type Broker, type BrokerOptions, type Listener } from './broker.ts';
import { createBrokerState } from './broker-state.ts';
import {
  createConsumer,
  isContent,
  toIncoming,
  type Content,
  type EmbeddedConsumer,
  type LevelledQueue,
} from './embedded-consumer.ts';

/**
 * The broker port in memory, on smqp. All parties of a process share one object; what it holds is gone with the process.
 * smqp knows no message priority: each exchange and each queue exists once per level.
 */
export function createEmbeddedBroker({ topology, log }: BrokerOptions): Broker {
  const smqp = new Smqp();
  const state = createBrokerState('up', log);
  const levels = Math.max(1, ...topology.queues.map((queue) => queue.levels ?? 1));
  const queues = new Map<string, LevelledQueue>();
  const consumers = new Set<EmbeddedConsumer>();
  const listeners = new Set<Listener>();
  const returned = new WeakSet<Content>();
  let stopping: Promise<void> | undefined;

  for (const { name, type } of topology.exchanges) {
    for (const level of range(levels))
      smqp.assertExchange(atLevel(name, level), type, { autoDelete: false, durable: false });
  }
  for (const queue of topology.queues) {
    const levelled = makeQueue(queue.name, queue.levels ?? 1, queue.maxLength);
    for (const level of range(levels)) {
      smqp.bindQueue(
        levelled.names[Math.min(level, levelled.names.length) - 1] ?? queue.name,
        atLevel(queue.exchange, level),
        queue.key,
      );
    }
  }
  smqp.on('return', (event) => {
    const content: unknown = event.content;
    if (isContent(content)) returned.add(content);
  });

  function makeQueue(name: string, queueLevels: number, maxLength?: number): LevelledQueue {
    const names = range(queueLevels).map((level) => atLevel(name, level));
    // smqp takes `maxLength: undefined` for no room at all.
    const bound = maxLength === undefined ? {} : { maxLength };
    for (const levelName of names) smqp.assertQueue(levelName, { autoDelete: false, durable: false, ...bound });
    const queue: LevelledQueue = { names, taken: 0 };
    queues.set(name, queue);
    return queue;
  }

  const send = (exchange: string, key: string, level: number, content: Content): 'confirmed' | 'unroutable' => {
    smqp.publish(atLevel(exchange, Math.min(Math.max(level, 1), levels)), key, content, { mandatory: true });
    wake();
    return returned.delete(content) ? 'unroutable' : 'confirmed';
  };

  /** The oldest message of the highest level that has one. */
  const take = (queue: LevelledQueue): ConsumeMessage | undefined => {
    for (const name of queue.names.toReversed()) {
      const message = smqp.get(name);
      if (message) return message;
    }
    return undefined;
  };

  // Handlers never run inside a publish, and a requeue leaves the event loop its turn.
  let awake: NodeJS.Immediate | undefined;
  const wake = () => {
    awake ??= setImmediate(() => {
      awake = undefined;
      for (const consumer of [...consumers]) {
        // Whoever was served comes last the next time.
        if (consumer.takeOne()) {
          consumers.delete(consumer);
          consumers.add(consumer);
          wake();
        }
      }
    });
  };

  const refuseWhenStopped = () => {
    if (state.current === 'stopped') throw new BrokerUnavailable('the broker is stopped');
  };

  return {
    get state() {
      return state.current;
    },
    onStateChange: state.onChange,
    async publish({ exchange, key, body, level = 1, messageId, correlationId, headers }) {
      refuseWhenStopped();
      if (!smqp.getExchange(atLevel(exchange, 1))) throw new BrokerUnavailable(`no exchange ${exchange}`);
      return send(exchange, key, level, { body, messageId, correlationId, headers });
    },
    announce(exchange, key, body) {
      if (state.current !== 'stopped') send(exchange, key, 1, { body });
    },
    consume(name, { concurrency }, handler) {
      const queue = queues.get(name) ?? makeQueue(name, 1);
      const consumer = createConsumer({
        take: () => take(queue),
        queue,
        concurrency,
        handler,
        wake,
        log,
        onStop: () => void consumers.delete(consumer),
      });
      consumers.add(consumer);
      wake();
      return consumer;
    },
    listen({ exchange, pattern, maxLength, onGap }, handler) {
      const queue = smqp.createQueue(null, { autoDelete: false, durable: false, maxLength });
      for (const level of range(levels)) smqp.bindQueue(queue.name, atLevel(exchange, level), pattern);
      let stopped = false;
      const guarded = (work: () => void) => {
        try {
          if (!stopped) work();
        } catch (error) {
          log.error({ err: error, exchange, pattern }, 'a listener failed');
        }
      };
      setImmediate(guarded, onGap);
      queue.consume(
        (_key, message) =>
          setImmediate(() => {
            guarded(() => handler(toIncoming(message)));
            message.ack();
          }),
        { prefetch: 1 },
      );
      const listener = {
        async stop() {
          stopped = true;
          listeners.delete(listener);
          queue.delete();
        },
      };
      listeners.add(listener);
      return listener;
    },
    async depth(name) {
      refuseWhenStopped();
      const queue = queues.get(name);
      if (!queue) throw new BrokerUnavailable(`no queue ${name}`);
      const held = queue.names.reduce((sum, levelName) => sum + (smqp.getQueue(levelName)?.messageCount ?? 0), 0);
      return held - queue.taken;
    },
    async queueExists(name) {
      refuseWhenStopped();
      return queues.has(name);
    },
    async declareQueue(name) {
      refuseWhenStopped();
      if (!queues.has(name)) makeQueue(name, 1);
    },
    stop: () =>
      (stopping ??= (async () => {
        await Promise.all([...consumers, ...listeners].map((part) => part.stop()));
        state.set('stopped');
        smqp.reset();
      })()),
  };
}

const atLevel = (name: string, level: number): string => `${name}@${level}`;

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);
