import { randomUUID } from 'node:crypto';
import { connect } from 'amqplib';
import type { Broker, BrokerLog, BrokerOptions, Publication } from '../platform/broker/broker.ts';
import { until } from './until.ts';

/**
 * Gives each test brokers with names of their own, and clears up after it.
 * @param cleanUrl a RabbitMQ to delete queues and exchanges from afterwards
 */
export function brokerRoom(create: (options: BrokerOptions) => Broker, cleanUrl: string | null) {
  const brokers: Broker[] = [];
  const used: ReturnType<typeof roomNames>[] = [];

  return {
    /** A broker with a levelled queue `work`, a bounded queue `failed` (3 messages) and a topic exchange `events`. */
    async enter({ waitUntilUp = true, queueType = 'classic', names = roomNames() }: EnterOptions = {}) {
      used.push(names);
      const lines: { level: string; fields: object; message: string }[] = [];
      const at = (level: string) => (fields: object, message: string) => void lines.push({ level, fields, message });
      const log: BrokerLog = { info: at('info'), warn: at('warn'), error: at('error') };
      const broker = create({ topology: toTopology(names), queueType, log });
      brokers.push(broker);
      if (waitUntilUp) await until(() => broker.state === 'up');
      return {
        broker,
        names,
        logged: (level: string) => lines.filter((line) => line.level === level),
        send: (body: string, rest: Partial<Publication> = {}) =>
          broker.publish({ exchange: names.direct, key: 'work', body: Buffer.from(body), ...rest }),
      };
    },
    async clear() {
      await Promise.all(brokers.splice(0).map((broker) => broker.stop()));
      const leftovers = used.splice(0);
      if (cleanUrl === null || leftovers.length === 0) return;
      const connection = await connect(cleanUrl);
      const channel = await connection.createChannel();
      for (const { direct, events, work, failed, mark } of leftovers) {
        for (const queue of [work, failed, mark]) await channel.deleteQueue(queue);
        for (const exchange of [direct, events]) await channel.deleteExchange(exchange);
      }
      await connection.close();
    },
  };
}

function roomNames() {
  const prefix = `t-${randomUUID()}.`;
  return {
    direct: `${prefix}direct`,
    events: `${prefix}events`,
    work: `${prefix}work`,
    failed: `${prefix}failed`,
    mark: `${prefix}mark`,
  };
}

const toTopology = (names: ReturnType<typeof roomNames>): BrokerOptions['topology'] => ({
  exchanges: [
    { name: names.direct, type: 'direct' },
    { name: names.events, type: 'topic' },
  ],
  queues: [
    { name: names.work, exchange: names.direct, key: 'work', levels: 3 },
    { name: names.failed, exchange: names.direct, key: 'failed', maxLength: 3 },
  ],
});

type EnterOptions = {
  waitUntilUp?: boolean;
  queueType?: BrokerOptions['queueType'];
  names?: ReturnType<typeof roomNames>;
};
