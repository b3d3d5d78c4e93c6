import type { Broker, BrokerOptions } from './broker.ts';
import { createRabbitmqBroker } from './rabbitmq.ts';

/**
 * The broker that a URL names. The embedded one has no URL: its one object is shared by all who run in its process.
 * @throws Error when the scheme is not amqp or amqps
 */
export function createBroker(amqpUrl: string, options: BrokerOptions): Broker {
  const scheme = amqpUrl.split(':', 1)[0];
  if (scheme !== 'amqp' && scheme !== 'amqps') throw new Error('the broker URL must start with amqp:// or amqps://');
  return createRabbitmqBroker(amqpUrl, options);
}
