import { randomBytes, randomUUID } from 'node:crypto';
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { startPostgres } from '../../embedded/postgres.ts';
import { startAll } from '../../platform/lifecycle.ts';
import { copyDatabases, makeTemplateDatabases, type Databases, type Row } from '../databases.ts';
import { makeFolder } from '../private-folder.ts';
import { freePort, startProcess, type PrivateProcess } from '../private-process.ts';
import { startPrivateRabbitmq } from '../private-rabbitmq.ts';
import { startPrivateRedis } from '../private-redis.ts';
import { until } from '../until.ts';
import { createLink, type Link } from './link.ts';
import { startProvider } from './provider.ts';

export const EMAIL_WORKERS = ['email-1', 'email-2'] as const;
export const WORKERS = [...EMAIL_WORKERS, 'push-1'] as const;
export const SERVICES = ['user', 'template', 'notification', 'gateway'] as const;
export const PROCESSES = [...SERVICES, ...WORKERS] as const;
export type ProcessName = (typeof PROCESSES)[number];
export type WorkerName = (typeof WORKERS)[number];

const WORKER_TARGETS = ['postgres', 'rabbitmq', 'redis', 'gateway', 'user'] as const;

/** The servers that each process reaches over a link of its own. */
const TARGETS = {
  user: ['postgres', 'redis'],
  template: ['postgres'],
  notification: ['postgres', 'rabbitmq'],
  gateway: ['rabbitmq'],
  'email-1': WORKER_TARGETS,
  'email-2': WORKER_TARGETS,
  'push-1': WORKER_TARGETS,
} as const satisfies Record<ProcessName, readonly Target[]>;
export type Target = 'postgres' | 'rabbitmq' | 'redis' | 'gateway' | 'user';

export const LEASE_MS = 4_000;

/** Short, so that a run is; the sweeper looks every 5 s whatever they are. */
const SETTINGS = {
  LEASE_SECONDS: String(LEASE_MS / 1_000),
  PROVIDER_TIMEOUT_SECONDS: '2',
  RETRY_BASE_SECONDS: '1',
  RETRY_CAP_SECONDS: '3',
  PUSH_RETRY_BASE_SECONDS: '1',
  PUSH_RETRY_CAP_SECONDS: '3',
  BREAKER_RESET_SECONDS: '1',
  WORKER_CONCURRENCY: '10',
  LOG_LEVEL: 'info',
};

export type Herald = Awaited<ReturnType<typeof startHerald>>;

/** Starts Herald as it runs in production: processes of their own, on a PostgreSQL, a RabbitMQ and a Redis of their own. */
export const startHerald = (say: (line: string) => void) =>
  startAll(async (started) => {
    const folder = await makeFolder('faults');
    started.onStop('the folder', () => folder.remove());
    const postgres = await startOwnPostgres(folder.path);
    started.add('PostgreSQL', postgres);
    const [rabbitmq, redis, databases] = await Promise.all([
      startPrivateRabbitmq().then((running) => started.add('RabbitMQ', running)),
      startPrivateRedis().then((running) => started.add('Redis', running)),
      makeTemplateDatabases(postgres.adminUrl).then((templates) => copyDatabases(postgres.adminUrl, templates)),
    ]);
    const provider = started.add('the provider', await startProvider(WORKERS));
    const pool = new pg.Pool({ connectionString: databases.urlOf('notification'), max: 4, query_timeout: 10_000 });
    pool.on('error', () => {});
    started.onStop('the observer', () => pool.end());

    const ports = new Map<ProcessName, number>();
    for (const name of PROCESSES) ports.set(name, await freePort());
    const portOf = (name: ProcessName) => ports.get(name) ?? 0;
    const serverOf: Record<Target, number> = {
      postgres: Number(new URL(postgres.adminUrl).port),
      rabbitmq: Number(new URL(rabbitmq.url).port),
      redis: Number(new URL(redis.url).port),
      gateway: portOf('gateway'),
      user: portOf('user'),
    };
    const links = new Map<string, Link>();
    for (const name of PROCESSES) {
      for (const target of TARGETS[name]) {
        links.set(`${name} ${target}`, started.add('a link', await createLink(serverOf[target])));
      }
    }

    const common = { ...SETTINGS, ...createSecrets(), AMQP_PREFIX: 'faults.', CACHE_PREFIX: 'faults.' };
    const envOf = (name: ProcessName): NodeJS.ProcessEnv => {
      const by = (target: Target, url: string) => through(url, links.get(`${name} ${target}`));
      const isWorker = WORKERS.some((worker) => worker === name);
      const at = (service: ProcessName) => `http://127.0.0.1:${portOf(service)}`;
      return {
        ...common,
        PORT: String(portOf(name)),
        USERS_DATABASE_URL: by('postgres', databases.urlOf('user')),
        TEMPLATES_DATABASE_URL: by('postgres', databases.urlOf('template')),
        NOTIFICATIONS_DATABASE_URL: by('postgres', databases.urlOf(isWorker ? 'worker' : 'notification')),
        AMQP_URL: by('rabbitmq', rabbitmq.url),
        REDIS_URL: by('redis', redis.url),
        GATEWAY_URL: by('gateway', at('gateway')),
        USER_URL: by('user', at('user')),
        TEMPLATE_URL: at('template'),
        NOTIFICATION_URL: at('notification'),
        SMTP_URL: provider.urlOf(name, 'smtp'),
        SENDGRID_API_KEY: 'SG.faults',
        SENDGRID_BASE_URL: provider.urlOf(name, 'sendgrid'),
        PUSH_SANDBOX_URL: provider.urlOf(name, 'push'),
      };
    };

    const running = new Map<ProcessName, PrivateProcess>();
    const logOf = (name: ProcessName) => join(folder.path, `${name}.log`);
    const herald = {
      provider,
      rabbitmq,
      postgres,
      adminKey: common.ADMIN_API_KEY,
      urlOf: (name: ProcessName) => `http://127.0.0.1:${portOf(name)}`,
      sql: async (text: string, values: unknown[] = []): Promise<Row[]> => (await pool.query<Row>(text, values)).rows,
      /** The links to a server: of one process, or of all. */
      links: (target: Target, of?: ProcessName): Link[] =>
        [...links]
          .filter(([name]) => name.endsWith(` ${target}`) && (of === undefined || name.startsWith(`${of} `)))
          .map(([, link]) => link),
      /** @param variables besides those that it has every time */
      start(name: ProcessName, variables: NodeJS.ProcessEnv = {}) {
        const [file, ...args] = COMMAND_OF[name];
        const env = { ...envOf(name), ...variables };
        running.set(name, startProcess(process.execPath, [join(ROOT, file), ...args], { env, logFile: logOf(name) }));
      },
      async kill(name: ProcessName) {
        await running.get(name)?.kill();
      },
      pidOf: (name: ProcessName): number => running.get(name)?.pid ?? 0,
      signal(name: ProcessName, signal: 'SIGSTOP' | 'SIGCONT') {
        process.kill(this.pidOf(name), signal);
      },
      /** Stops RabbitMQ, deletes what it has stored, starts it. */
      async wipeRabbitmq() {
        await rabbitmq.kill9();
        await rm(mnesia, { recursive: true, force: true });
        await rabbitmq.restart();
      },
      /** Resolves when every process says that it and all it needs are well. */
      ready: (timeoutMs = 60_000) =>
        until(() => Promise.all(PROCESSES.map((name) => isReady(`http://127.0.0.1:${portOf(name)}`))), {
          timeoutMs,
          everyMs: 100,
        }).catch(async (cause: unknown) => {
          throw new Error(`not ready:\n${await herald.lastLines(5)}`, { cause });
        }),
      /** The last different things that each process's log tells of trouble. */
      async lastLines(count: number): Promise<string> {
        const tails = PROCESSES.map(async (name) => {
          const log = await readFile(logOf(name), 'utf8').catch(() => '');
          const told = log.split('\n').filter((line) => /"level":"(error|warn|fatal)"|^herald: |Error/.test(line));
          const messages = told.map((line) => /"msg":"([^"]*)"/.exec(line)?.[1] ?? line.slice(0, 300));
          return [...new Set(messages)].slice(-count).map((message) => `${name}: ${message}`);
        });
        return (await Promise.all(tails)).flat().join('\n');
      },
      copyLogs: (to: string) =>
        Promise.all(PROCESSES.map((name) => cp(logOf(name), join(to, `${name}.log`)).catch(() => {}))),
    };
    const mnesia = (await rabbitmq.ctl('eval', 'rabbit_mnesia:dir().')).trim().replaceAll('"', '');
    started.onStop('the processes', async () => {
      await Promise.all([...running.values()].map((program) => program.kill()));
    });
    for (const name of PROCESSES) herald.start(name);
    await herald.ready();
    say('Herald runs: four services, two email workers, a push worker, PostgreSQL, RabbitMQ, Redis');
    return herald;
  });

/** A PostgreSQL that can be stopped as by a power cut, and started again on its data and its port. */
async function startOwnPostgres(folder: string) {
  const dataDir = join(folder, 'data');
  const options = { dataDir, port: await freePort(), password: 'herald', log: () => {} };
  let server = await startPostgres(options);
  return {
    adminUrl: server.adminUrl,
    async stopNow() {
      const pid = Number((await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0]);
      process.kill(pid, 'SIGQUIT');
      await until(() => !isAlive(pid), { timeoutMs: 10_000 });
    },
    async start() {
      server = await startPostgres(options);
    },
    stop: () => server.stop(),
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function isReady(url: string): Promise<true> {
  const response = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(3_000) });
  await response.arrayBuffer();
  if (response.status !== 200) throw new Error(`${url} answers ${response.status}`);
  return true;
}

function through(url: string, link: Link | undefined): string {
  if (link === undefined) return url;
  const parsed = new URL(url);
  parsed.port = String(link.port);
  return parsed.href;
}

const createSecrets = () => ({
  USER_SECRET: secret(),
  TEMPLATE_SECRET: secret(),
  NOTIFICATION_SECRET: secret(),
  WORKER_API_KEY: secret(),
  JWT_KEYS: `faults:${secret()}${secret()}`,
  ADMIN_API_KEY: secret(),
});

const secret = () => `${randomUUID()}${randomBytes(8).toString('hex')}`;

const ROOT = join(import.meta.dirname, '..', '..');
const COMMAND_OF = {
  user: ['subgraphs/user/main.ts'],
  template: ['subgraphs/template/main.ts'],
  notification: ['subgraphs/notification/main.ts'],
  gateway: ['gateway/main.ts'],
  'email-1': ['workers/main.ts', 'email'],
  'email-2': ['workers/main.ts', 'email'],
  'push-1': ['workers/main.ts', 'push'],
} as const satisfies Record<ProcessName, readonly [string, ...string[]]>;

export type { Databases };
