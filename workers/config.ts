import { z } from 'zod';
import { NOTIFICATION_TYPES, type NotificationType } from '../contracts/jobs.ts';
import {
  ConfigError,
  count,
  logLevel,
  parseEnv,
  port,
  secretRing,
  serviceUrl,
  url,
  type Env,
} from '../platform/env.ts';
import { STOP_DEADLINE_MS } from '../platform/lifecycle.ts';
import { adapters } from './adapters.ts';
import { toTracing, tracingVariables } from '../platform/tracing.ts';

/** The environment of one worker. @param type which queue it works on, from the command line: `email` or `push` */
export const readConfig = (env: Env = process.env, type: string | undefined = process.argv[2]) => {
  if (!isType(type))
    throw new ConfigError([`the worker's type is missing: start it as "npm run start:worker -- email" or "… push"`]);
  const vars = parseEnv(
    {
      HOST: z.string().default('127.0.0.1'),
      PORT: port(type === 'email' ? 8004 : 8005),
      NOTIFICATIONS_DATABASE_URL: url('postgresql', 'postgres').describe(
        'the URL of notifications_db for a login that has the role herald_worker, postgresql://user:password@host:5432/notifications_db',
      ),
      AMQP_URL: url('amqp', 'amqps').describe('where RabbitMQ is, amqp://user:password@host:5672'),
      AMQP_PREFIX: z.string().default(''),
      QUEUE_TYPE: z.enum(['classic', 'quorum'], 'must be classic or quorum').default('classic'),
      REDIS_URL: url('redis', 'rediss').describe('where preferences are cached, redis://host:6379'),
      CACHE_PREFIX: z.string().default(''),
      GATEWAY_URL: serviceUrl('http://127.0.0.1:8000'),
      USER_URL: serviceUrl('http://127.0.0.1:8001'),
      USER_SECRET: secretRing('what the user service expects requests to be signed with'),
      WORKER_API_KEY: secretRing("the workers' key at the gateway"),
      WORKER_CONCURRENCY: count(20, { max: 500 }),
      LEASE_SECONDS: count(60, { min: 2 }),
      // A hand-over that is under way as the worker stops must end, and be reported, within the time that it has.
      PROVIDER_TIMEOUT_SECONDS: count(20, { max: STOP_DEADLINE_MS / 1_000 - 5 }),
      BREAKER_ERROR_PERCENT: count(50, { max: 100 }),
      BREAKER_MIN_SENDS: count(10),
      BREAKER_WINDOW_SECONDS: count(10),
      BREAKER_RESET_SECONDS: count(10),
      ...tracingVariables,
      LOG_LEVEL: logLevel,
      EMAIL_PROVIDERS: chain('email', 'smtp'),
      PUSH_PROVIDERS: chain('push', 'sandbox'),
    },
    env,
  );
  if (vars.PROVIDER_TIMEOUT_SECONDS * 2 > vars.LEASE_SECONDS) {
    throw new ConfigError([
      `PROVIDER_TIMEOUT_SECONDS is wrong: it must be at most half of LEASE_SECONDS (${vars.LEASE_SECONDS})`,
    ]);
  }
  return {
    type,
    host: vars.HOST,
    port: vars.PORT,
    databaseUrl: vars.NOTIFICATIONS_DATABASE_URL,
    amqpUrl: vars.AMQP_URL,
    amqpPrefix: vars.AMQP_PREFIX,
    queueType: vars.QUEUE_TYPE,
    redisUrl: vars.REDIS_URL,
    cachePrefix: vars.CACHE_PREFIX,
    gatewayUrl: vars.GATEWAY_URL,
    userUrl: vars.USER_URL,
    userSecret: vars.USER_SECRET,
    apiKey: vars.WORKER_API_KEY,
    concurrency: vars.WORKER_CONCURRENCY,
    leaseSeconds: vars.LEASE_SECONDS,
    providerTimeoutMs: vars.PROVIDER_TIMEOUT_SECONDS * 1_000,
    breaker: {
      errorPercent: vars.BREAKER_ERROR_PERCENT,
      minSends: vars.BREAKER_MIN_SENDS,
      windowMs: vars.BREAKER_WINDOW_SECONDS * 1_000,
      resetMs: vars.BREAKER_RESET_SECONDS * 1_000,
    },
    tracing: toTracing(vars),
    logLevel: vars.LOG_LEVEL,
    providers: type === 'email' ? vars.EMAIL_PROVIDERS : vars.PUSH_PROVIDERS,
    /** What the providers' own variables are read from: a fault there pauses that provider, it ends no process. */
    providerEnv: env,
  };
};

export type WorkerConfig = ReturnType<typeof readConfig>;

/** `sendgrid,smtp`: the providers of one type, in the order in which they are tried. */
const chain = (type: NotificationType, fallback: string) => {
  const known = Object.keys(adapters).filter((name) => adapters[name]?.type === type);
  return z
    .string()
    .default(fallback)
    .transform((text) => text.split(',').map((name) => name.trim()))
    .refine(
      (names) => names.every((name) => known.includes(name)),
      `must be a list of ${known.join(', ')}, the first tried first`,
    )
    .refine((names) => new Set(names).size === names.length, 'must name each provider once');
};

/** @throws ConfigError when the variable names none or one that there is not */
export const readProviderNames = (type: NotificationType, env: Env): string[] =>
  type === 'email'
    ? parseEnv({ EMAIL_PROVIDERS: chain('email', 'smtp') }, env).EMAIL_PROVIDERS
    : parseEnv({ PUSH_PROVIDERS: chain('push', 'sandbox') }, env).PUSH_PROVIDERS;

const isType = (text: string | undefined): text is NotificationType => NOTIFICATION_TYPES.some((type) => type === text);
