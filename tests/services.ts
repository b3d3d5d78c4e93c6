import { findChromium } from './chromium.ts';
import { findBinary } from './find-binary.ts';
import { canInstall, installPackages } from './install-services.ts';
import { findRabbitmq, startPrivateRabbitmq } from './private-rabbitmq.ts';
import { findRedis, startPrivateRedis } from './private-redis.ts';

export { startPrivateRabbitmq, type PrivateRabbitmq } from './private-rabbitmq.ts';
export { startPrivateRedis, type PrivateRedis } from './private-redis.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A RabbitMQ that all tests share (use a queue prefix); null: none here, skip. */
    amqpUrl: string | null;
    /** A Redis that all tests share (use a key prefix); null: none here, skip. */
    redisUrl: string | null;
    /** Whether `startPrivateRabbitmq` and `startPrivateRedis` work here. */
    privateServices: { rabbitmq: boolean; redis: boolean };
    /** The path of a Chromium; null: none here, skip. */
    chromium: string | null;
    /** The administrator's URL of a PostgreSQL that all tests share (make a database of your own). */
    postgresUrl: string;
  }
}

/**
 * What the tests need besides packages, by the name that Debian gives it. The servers are needed whatever URLs are given, for
 * some stories kill them.
 */
const PROGRAMS: Record<string, () => string | null> = {
  'rabbitmq-server': findRabbitmq,
  'redis-server': findRedis,
  chromium: findChromium,
  // For promtool, which judges the alerts.
  prometheus: () => findBinary('promtool'),
};

/**
 * RabbitMQ and Redis for a test run: those of AMQP_URL and REDIS_URL, else private ones of the programs installed here;
 * on Debian as root, missing programs are installed first.
 * @param say prints a line of progress
 * @returns also what is wrong with the programs that are missing all the same; null when all are there
 */
export async function findServices(
  env: NodeJS.ProcessEnv,
  say: (line: string) => void,
  { programs = PROGRAMS, install = canInstall() ? installPackages : null } = {},
): Promise<{ rabbitmq: Service; redis: Service; problem: string | null }> {
  const findMissing = () => Object.keys(programs).filter((name) => programs[name]?.() === null);
  const missing = findMissing();
  if (missing.length > 0 && install) {
    const started = performance.now();
    say(`installing ${missing.join(', ')} with apt-get (once, about a minute) …`);
    await install(missing)
      .then(() => say(`installed in ${seconds(started)}; the machine's own services were not started`))
      .catch((error: unknown) => say(`not installed: ${error instanceof Error ? error.message : String(error)}`));
  }
  const [rabbitmq, redis] = await Promise.all([
    provide('RabbitMQ', env.AMQP_URL, findRabbitmq(), startPrivateRabbitmq),
    provide('Redis', env.REDIS_URL, findRedis(), startPrivateRedis),
  ]);
  return { rabbitmq, redis, problem: toProblem(findMissing()) };
}

const toProblem = (missing: string[]): string | null =>
  missing.length === 0
    ? null
    : `${missing.join(', ')} missing: install what is missing (AMQP_URL and REDIS_URL do for stories that kill no server)`;

async function provide(
  name: string,
  givenUrl: string | undefined,
  binary: string | null,
  startPrivate: () => Promise<{ url: string; stop(): Promise<void> }>,
): Promise<Service> {
  if (givenUrl) return { url: givenUrl, summary: `${name} (given)`, stop: async () => {} };
  if (!binary) return { url: null, summary: `${name} missing`, stop: async () => {} };
  const started = performance.now();
  const { url, stop } = await startPrivate();
  return { url, summary: `${name} (private, ${binary}) in ${seconds(started)}`, stop };
}

export const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

export type Service = { url: string | null; summary: string; stop(): Promise<void> };
