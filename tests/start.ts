import { randomUUID } from 'node:crypto';
import { inject } from 'vitest';
import { toTopology, topologyNames, type TopologyNames } from '../contracts/topology.ts';
import { startMailbox } from '../embedded/mailbox/start-mailbox.ts';
import type { Broker } from '../platform/broker/broker.ts';
import { createEmbeddedBroker } from '../platform/broker/embedded.ts';
import type { Cache } from '../platform/cache/cache.ts';
import { createEmbeddedCache } from '../platform/cache/embedded.ts';
import { startAll, type Running } from '../platform/lifecycle.ts';
import { deleteFromBroker } from './amqp.ts';
import { copyDatabases, type Databases } from './databases.ts';
import { openDoors } from './doors.ts';
import { createParts, PARTS, type Overrides, type Part } from './herald-parts.ts';
import { watchLeaks } from './leaks.ts';
import { freePort } from './private-process.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';

export type BrokerKind = 'rabbitmq' | 'embedded';

/** Whether stories can run on a real RabbitMQ and Redis here. */
export const hasServices = inject('amqpUrl') !== null && inject('redisUrl') !== null;

export const brokerKinds: BrokerKind[] = hasServices ? ['rabbitmq', 'embedded'] : ['embedded'];

export type HeraldOptions = Overrides & {
  /** By default the real RabbitMQ and Redis, where there are. `embedded`: both in memory, as with `npm start`. */
  broker?: BrokerKind;
  /** Another RabbitMQ and another Redis than those all tests share. */
  amqpUrl?: string;
  redisUrl?: string;
  /** What to start; all by default. */
  parts?: readonly Part[];
};

export type Herald = Awaited<ReturnType<typeof startHerald>>;

/**
 * Boots what a story needs in this process: databases, queues and ports of its own, a mailbox as the outside world. One at a
 * time in a file.
 */
export async function startHerald({
  broker: kind,
  amqpUrl,
  redisUrl,
  parts = PARTS,
  ...overrides
}: HeraldOptions = {}) {
  const checkLeaks = watchLeaks();
  const services = chooseServices(kind ?? (hasServices ? 'rabbitmq' : 'embedded'), { amqpUrl, redisUrl });
  const prefix = `t-${randomUUID()}.`;
  const names = topologyNames(prefix);

  const herald = await startAll(async (started) => {
    const databases = await copyDatabases(inject('postgresUrl'), inject('templateDatabases'));
    started.onStop('the databases', () => databases.drop());
    if (services.amqpUrl !== '') {
      started.onStop('the queues', () => deleteQueues(services.amqpUrl, names, databases));
    }
    const mailbox = started.add('the mailbox', await openMailbox());
    const embedded: Embedded = services.amqpUrl === '' ? createEmbedded(names) : {};
    if (embedded.broker) started.add('the broker', embedded.broker);

    // A part that starts later than one that calls it has its port from the beginning.
    const ports = new Map<Part, number>();
    for (const part of PARTS)
      if (!parts.includes(part) || part === 'notification' || part === 'gateway') ports.set(part, await freePort());
    const urlOf = (part: Part) => `http://127.0.0.1:${ports.get(part)}`;
    const { start, secrets } = createParts({ databases, prefix, ...services, ...embedded, mailbox, urlOf, overrides });

    const running = new Map<Part, Running>();
    const others: Running[] = [];
    const startPart = async (part: Part) => {
      const { port, stop } = await start[part](ports.get(part) ?? 0);
      ports.set(part, port);
      running.set(part, { stop });
    };
    const stopPart = async (part: Part) => {
      const { stop } = running.get(part) ?? {};
      running.delete(part);
      await stop?.();
    };
    started.onStop('the parts', async () => {
      for (const other of others) await other.stop();
      for (const part of PARTS.toReversed()) await stopPart(part);
    });
    for (const part of PARTS) if (parts.includes(part)) await startPart(part);

    const { close, ...doors } = openDoors({ urlOf, apiKey: secrets.admin, mailboxUrl: mailbox.url });
    started.onStop('the connections of the test', close);
    return {
      ...doors,
      url: urlOf('gateway'),
      urlOf,
      names,
      amqpUrl: services.amqpUrl,
      adminApiKey: secrets.admin,
      workerApiKey: secrets.worker,
      secrets,
      sql: databases.sql,
      databaseUrl: databases.urlOf,
      /** Starts a part, on the port that it had or that was kept for it. */
      startPart,
      stopPart,
      /** Starts one more of a part beside the first. */
      async addInstance(part: Part) {
        const { port, stop } = await start[part](0);
        others.push({ stop });
        return { url: `http://127.0.0.1:${port}`, stop };
      },
      /** Resolves when nothing is pending and nothing waits to be published. */
      drained: ({ timeoutMs = 10_000 } = {}) =>
        until(async () => (await databases.sql('notification', PENDING))[0]?.['pending'] === 0, {
          timeoutMs,
          everyMs: 25,
        }),
    };
  });
  return {
    ...herald,
    async stop() {
      await herald.stop();
      await checkLeaks();
    },
  };
}

const PENDING = `SELECT ((SELECT count(*) FROM notification WHERE status = 'pending') + (SELECT count(*) FROM outbox))::integer AS pending`;

function chooseServices(
  kind: BrokerKind,
  given: { amqpUrl: string | undefined; redisUrl: string | undefined },
): { amqpUrl: string; redisUrl: string } {
  if (kind === 'embedded') return { amqpUrl: '', redisUrl: '' };
  const [rabbitmq, redis] = [given.amqpUrl ?? inject('amqpUrl'), given.redisUrl ?? inject('redisUrl')];
  if (rabbitmq === null || redis === null) throw new Error('this story needs RabbitMQ and Redis: skip it without them');
  return { amqpUrl: rabbitmq, redisUrl: redis };
}

const createEmbedded = (names: TopologyNames) => ({
  broker: createEmbeddedBroker({
    topology: toTopology(names),
    queueType: 'classic',
    log: createTestLogger('broker'),
  }),
  cache: createEmbeddedCache(),
});

type Embedded = { broker?: Broker; cache?: Cache };

function openMailbox() {
  const log = createTestLogger('mailbox');
  return startMailbox({ smtpPort: 0, httpPort: 0, host: '127.0.0.1', log: (line) => log.info(line) });
}

/** The marks are named in the database, so this goes before the databases. */
async function deleteQueues(amqpUrl: string, names: TopologyNames, databases: Databases): Promise<void> {
  const marks = await databases.sql('notification', 'SELECT mark FROM broker_mark');
  await deleteFromBroker(amqpUrl, {
    queues: [...Object.values(names.queues), ...marks.map(({ mark }) => names.markQueue(mark))],
    exchanges: [names.direct, names.events],
  });
}
