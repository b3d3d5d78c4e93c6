import type { Channel } from 'amqplib';
import type { FaultLog } from '../log-on-change.ts';
import type { BrokerLog, IncomingMessage, Listener, ListenOptions } from './broker.ts';
import { closeChannel, type Connection } from './rabbitmq-connection.ts';
import { toIncoming } from './rabbitmq-consumer.ts';
import { keepChannel } from './rabbitmq-kept-channel.ts';

/**
 * Listens with a queue of this connection only; each connect makes a new one. Server-named: a fixed exclusive name is
 * refused (405) while the old connection lingers.
 */
export function createListener(connection: Connection, { options, handler, faults, log }: ListenerOptions): Listener {
  const { exchange, pattern, maxLength, onGap } = options;
  const guarded = (work: () => void) => {
    try {
      work();
    } catch (error) {
      log.error({ err: error, exchange, pattern }, 'a listener failed');
    }
  };

  const kept = keepChannel<Channel>(connection, {
    faults,
    async open(channel) {
      const { queue } = await channel.assertQueue('', {
        exclusive: true,
        autoDelete: true,
        durable: false,
        maxLength,
        overflow: 'drop-head',
        // Exclusive queues are classic, whatever the virtual host's default type.
        arguments: { 'x-queue-type': 'classic' },
      });
      await channel.bindQueue(queue, exchange, pattern);
      await channel.consume(
        queue,
        (message) => {
          if (message) guarded(() => handler(toIncoming(message)));
          else void closeChannel(channel);
        },
        { noAck: true },
      );
      guarded(onGap);
      return channel;
    },
  });

  return {
    async stop() {
      const channel = await kept.stop();
      // Without its consumer the queue deletes itself.
      if (channel) await closeChannel(channel);
    },
  };
}

type ListenerOptions = {
  options: ListenOptions;
  handler: (message: IncomingMessage) => void;
  faults: FaultLog;
  log: BrokerLog;
};
