import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startPostgres } from '../embedded/postgres.ts';
import { findChromium } from './chromium.ts';
import { makeTemplateDatabases, type TemplateDatabases } from './databases.ts';
import { makeFolder } from './private-folder.ts';
import { freePort } from './private-process.ts';
import { findRabbitmq } from './private-rabbitmq.ts';
import { findRedis } from './private-redis.ts';
import { findServices, seconds } from './services.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Databases in that PostgreSQL, migrated and unused: copy them, and leave no connection to them open. */
    templateDatabases: TemplateDatabases;
  }
}

/** Starts what every test file shares: PostgreSQL with migrated databases, RabbitMQ, Redis. Returns what stops them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const outcomes = await Promise.allSettled([startSharedPostgres(), findServices(process.env, say)]);
  const [postgres, services] = outcomes;
  const stop = async () => {
    const running = [
      ...(postgres.status === 'fulfilled' ? [postgres.value] : []),
      ...(services.status === 'fulfilled' ? [services.value.rabbitmq, services.value.redis] : []),
    ];
    await Promise.all(running.map((service) => service.stop()));
  };
  if (postgres.status === 'rejected' || services.status === 'rejected') {
    await stop();
    throw new AggregateError(
      outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : [])),
      'the services of the tests did not start',
    );
  }

  const { rabbitmq, redis, problem } = services.value;
  say([postgres.value.summary, rabbitmq.summary, redis.summary].join(' · '));
  if (problem !== null) {
    if (process.env.CI === 'true') {
      await stop();
      throw new Error(problem);
    }
    say(`!!! ${problem}. The tests that need them are SKIPPED.`);
  }

  project.provide('postgresUrl', postgres.value.url);
  project.provide('templateDatabases', postgres.value.templateDatabases);
  project.provide('amqpUrl', rabbitmq.url);
  project.provide('redisUrl', redis.url);
  project.provide('privateServices', { rabbitmq: findRabbitmq() !== null, redis: findRedis() !== null });
  project.provide('chromium', findChromium());
  return stop;
}

async function startSharedPostgres() {
  const started = performance.now();
  const folder = await makeFolder('postgres');
  const postgres = await startPostgres({
    dataDir: join(folder.path, 'data'),
    port: await freePort(),
    password: 'herald',
    log: () => {},
  });
  const stop = async () => {
    await postgres.stop();
    await folder.remove();
  };
  try {
    const templateDatabases = await makeTemplateDatabases(postgres.adminUrl);
    return { url: postgres.adminUrl, templateDatabases, summary: `PostgreSQL in ${seconds(started)}`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const say = (line: string): void => void process.stderr.write(`tests: ${line}\n`);
