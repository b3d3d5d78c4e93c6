import type { Channel } from 'amqplib';
import { withDeadline } from '../lifecycle.ts';
import { createFaultLog } from '../log-on-change.ts';
import { BrokerUnavailable, type Broker, type BrokerOptions, type Consumer, type Listener } from './broker.ts';
import { createBrokerState } from './broker-state.ts';
import { openConnection, toReplyCode, withChannel } from './rabbitmq-connection.ts';
import { createConsumer } from './rabbitmq-consumer.ts';
import { createListener } from './rabbitmq-listener.ts';
import { createPublisher } from './rabbitmq-publisher.ts';
import { createDeclare } from './rabbitmq-topology.ts';

/**
 * The broker port on RabbitMQ, 3.10 or newer. Two connections: in an alarm RabbitMQ stops reading from the one that
 * publishes, and acks on it would be stuck with the messages.
 * @param url amqp:// or amqps://; never logged, for it holds the password
 */
export function createRabbitmqBroker(url: string, options: BrokerOptions): Broker {
  const { log, queueType } = options;
  const state = createBrokerState('connecting', log);
  const declare = createDeclare(options);
  const connectionFaults = createFaultLog(log, 'the broker is away: trying again until it comes');
  const parts = new Set<Consumer | Listener>();
  let connectedOnce = false;
  let stopping: Promise<void> | undefined;

  const publisher = createPublisher(url, { declare, onChange, faults: connectionFaults });
  const consuming = openConnection(url, { name: 'herald consume', setup: declare, onChange, faults: connectionFaults });

  function onChange(): void {
    if (!publisher.connection.model || !consuming.model) return state.set('connecting');
    if (connectionFaults.mended() || !connectedOnce) log.info({}, 'the broker is connected');
    connectedOnce = true;
    state.set(publisher.connection.blocked ? 'blocked' : 'up');
  }

  const keep = <Part extends Consumer | Listener>(part: Part): Part => {
    parts.add(part);
    const { stop } = part;
    return {
      ...part,
      async stop() {
        await stop();
        parts.delete(part);
      },
    };
  };

  /** Asks on the connection that never is blocked, on a channel of the question's own, for a no closes it. */
  async function ask<T>(question: (channel: Channel) => Promise<T>): Promise<T> {
    const { model } = consuming;
    if (!model) throw new BrokerUnavailable('no connection to the broker');
    try {
      return await withDeadline(withChannel(model, question), ASK_TIMEOUT_MS, 'the broker does not answer');
    } catch (cause) {
      throw new BrokerUnavailable('the broker could not be asked', { cause });
    }
  }

  return {
    get state() {
      return state.current;
    },
    onStateChange: state.onChange,
    publish: publisher.publish,
    announce: publisher.announce,
    consume(queue, { concurrency }, handler) {
      const faults = createFaultLog(log, `can't consume from ${queue}: trying again`);
      return keep(createConsumer(consuming, { queue, concurrency, handler, declare, faults, log }));
    },
    listen(listenOptions, handler) {
      const faults = createFaultLog(log, `can't listen to ${listenOptions.exchange}: trying again`);
      return keep(createListener(consuming, { options: listenOptions, handler, faults, log }));
    },
    async depth(queue) {
      const { messageCount } = await ask((channel) => channel.checkQueue(queue));
      return messageCount;
    },
    queueExists: (queue) =>
      ask(async (channel) => {
        try {
          await channel.checkQueue(queue);
          return true;
        } catch (error) {
          if (toReplyCode(error) === 404) return false;
          throw error;
        }
      }),
    async declareQueue(queue) {
      const quorum = queueType === 'quorum' ? { 'x-queue-type': 'quorum' } : {};
      await ask((channel) => channel.assertQueue(queue, { durable: true, arguments: quorum }));
    },
    stop: () =>
      (stopping ??= (async () => {
        await Promise.all([...parts].map((part) => part.stop()));
        await Promise.all([publisher.stop(), consuming.stop()]);
        state.set('stopped');
      })()),
  };
}

const ASK_TIMEOUT_MS = 5_000;
