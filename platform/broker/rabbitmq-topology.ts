import type { ChannelModel, Options } from 'amqplib';
import type { BrokerOptions, Topology } from './broker.ts';
import { toReplyCode, withChannel } from './rabbitmq-connection.ts';

/** Returns the function that declares the exchanges, queues and bindings on a connection; declaring twice does nothing. */
export function createDeclare({ topology, queueType, log }: BrokerOptions): Declare {
  const warned = new Set<string>();

  /** 406: it exists with other arguments. Whoever made it so had a reason, and it takes messages all the same. */
  const asItStands = (name: string) => (error: unknown) => {
    if (toReplyCode(error) !== 406) throw error;
    if (warned.has(name)) return;
    warned.add(name);
    log.warn(
      { name, reason: error instanceof Error ? error.message : undefined },
      'exists in the broker with other arguments: used as it stands',
    );
  };

  return async (model) => {
    for (const { name, type } of topology.exchanges) {
      await withChannel(model, (channel) => channel.assertExchange(name, type, { durable: true })).catch(
        asItStands(name),
      );
    }
    for (const queue of topology.queues) {
      const { name, exchange, key } = queue;
      await withChannel(model, (channel) => channel.assertQueue(name, toQueueArguments(queue, queueType))).catch(
        asItStands(name),
      );
      await withChannel(model, (channel) => channel.bindQueue(name, exchange, key));
    }
  };
}

function toQueueArguments(
  { levels, maxLength }: Topology['queues'][number],
  queueType: BrokerOptions['queueType'],
): Options.AssertQueue {
  const bounds = maxLength === undefined ? {} : { maxLength, overflow: 'drop-head' };
  switch (queueType) {
    case 'classic':
      return { durable: true, ...bounds, ...(levels === undefined ? {} : { maxPriority: levels }) };
    case 'quorum':
      // RabbitMQ refuses x-max-priority on a quorum queue (406).
      return { durable: true, ...bounds, arguments: { 'x-queue-type': 'quorum' } };
    default:
      return queueType satisfies never;
  }
}

export type Declare = (model: ChannelModel) => Promise<void>;
