import { readdir } from 'node:fs/promises';
import amqp from 'amqplib';
import { Redis } from 'ioredis';
import pg from 'pg';
import type { TopologyNames } from '../contracts/topology.ts';
import type { DatabaseName } from '../prisma/migrate.ts';

/** So long anything may take to answer. */
const TIMEOUT_MS = 5_000;
/** A signed request that is older than 30 s is refused. */
const MAX_SKEW_MS = 10_000;

/** Reaches a database; its migrations must all be applied, and its clock must agree with ours. */
export async function checkDatabase(name: DatabaseName, url: string): Promise<string> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
  });
  try {
    await client.connect().catch((error: unknown) => {
      throw new Error(`can't be reached: ${reasonOf(error)}. Start PostgreSQL, or correct the URL`, { cause: error });
    });
    const { rows } = await client.query<{ version: string; now: Date }>(
      `SELECT current_setting('server_version') AS version, clock_timestamp() AS now`,
    );
    const skewMs = Math.abs(Date.now() - (rows[0]?.now.getTime() ?? 0));
    if (skewMs > MAX_SKEW_MS)
      throw new Error(`its clock is ${Math.round(skewMs / 1_000)} s away from this machine's: set both by NTP`);
    const missing = await findMissingMigrations(name, client);
    if (missing.length > 0) throw new Error(`lacks ${missing.join(', ')}: run "npm run db:migrate"`);
    return `PostgreSQL ${rows[0]?.version}, migrations applied`;
  } finally {
    await client.end().catch(() => {});
  }
}

async function findMissingMigrations(name: DatabaseName, client: pg.Client): Promise<string[]> {
  const folder = new URL(`../prisma/${name}/migrations/`, import.meta.url);
  const wanted = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const applied = await client
    .query<{ migration_name: string }>('SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL')
    .then(
      ({ rows }) => rows.map((row) => row.migration_name),
      (error: unknown) => {
        // A worker's role may not read it, and needs not: it can't do anything but what the migrations gave it.
        if (error instanceof Error && 'code' in error && error.code === '42501')
          return wanted.map((entry) => entry.name);
        if (error instanceof Error && 'code' in error && error.code === '42P01') return [];
        throw error;
      },
    );
  return wanted.map((entry) => entry.name).filter((migration) => !applied.includes(migration));
}

/** Reaches RabbitMQ, and says how much waits in each queue. */
export async function checkRabbitmq(url: string, names: TopologyNames): Promise<string> {
  const connection = await amqp.connect(url, { timeout: TIMEOUT_MS }).catch((error: unknown) => {
    throw new Error(`can't be reached: ${reasonOf(error)}. Start RabbitMQ, or correct AMQP_URL`, { cause: error });
  });
  connection.on('error', () => {});
  try {
    const states = [];
    for (const queue of Object.values(names.queues)) {
      const channel = await connection.createChannel();
      channel.on('error', () => {});
      const found = await channel.checkQueue(queue).catch(() => null);
      states.push(
        found === null
          ? `${queue} is not there yet (the services make it)`
          : `${queue} ${found.messageCount} waiting, ${found.consumerCount} consumers`,
      );
    }
    const version: unknown = connection.connection.serverProperties.version;
    return `RabbitMQ ${typeof version === 'string' ? version : ''}, ${states.join('; ')}`;
  } finally {
    await connection.close().catch(() => {});
  }
}

/** Reaches Redis. */
export async function checkRedis(url: string): Promise<string> {
  const redis = new Redis(url, { lazyConnect: true, connectTimeout: TIMEOUT_MS, retryStrategy: () => null });
  let reason = '';
  redis.on('error', (error: Error) => (reason = error.message));
  try {
    await redis.connect();
    const info = await redis.info('server');
    return `Redis ${/redis_version:(\S+)/.exec(info)?.[1] ?? ''}`;
  } catch (error) {
    throw new Error(`can't be reached: ${reason || reasonOf(error)}. Start Redis, or correct REDIS_URL`, {
      cause: error,
    });
  } finally {
    redis.disconnect();
  }
}

/** An error to several addresses says nothing by itself. */
const reasonOf = (error: unknown): string => {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join(', ');
  return error instanceof Error ? error.message : String(error);
};
