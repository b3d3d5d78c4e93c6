import { z } from 'zod';
import { NOTIFICATION_TYPES, type NotificationType } from '../contracts/jobs.ts';
import { ConfigError, count, logLevel, parseEnv, port, secret, serviceUrl, url, type Env } from '../platform/env.ts';
import { faultOfEmail } from '../platform/text.ts';

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
      USER_SECRET: secret('what the user service expects requests to be signed with'),
      WORKER_API_KEY: secret("the workers' key at the gateway"),
      WORKER_CONCURRENCY: count(20, { max: 500 }),
      LEASE_SECONDS: count(60, { min: 2 }),
      PROVIDER_TIMEOUT_SECONDS: count(20),
      BREAKER_ERROR_PERCENT: count(50, { max: 100 }),
      BREAKER_MIN_SENDS: count(10),
      BREAKER_WINDOW_SECONDS: count(10),
      BREAKER_RESET_SECONDS: count(10),
      LOG_LEVEL: logLevel,
      ...(type === 'email' ? emailVars : pushVars),
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
    logLevel: vars.LOG_LEVEL,
    channel: readChannel(type, env),
  };
};

export type WorkerConfig = ReturnType<typeof readConfig>;

/** Where one channel's messages go. */
export type ChannelConfig =
  | { type: 'email'; provider: 'smtp'; smtpUrl: string; from: { name: string; address: string } }
  | { type: 'push'; provider: 'sandbox'; recordUrl: string | null };

const mailFrom = z
  .string()
  .default('Herald <herald@localhost>')
  .transform((text, context) => {
    const [, name = '', address = text] = /^\s*"?([^"<]*?)"?\s*<([^>]+)>\s*$/.exec(text) ?? [];
    if (faultOfEmail(address.trim()) !== null)
      context.addIssue('must be an address such as Herald <no-reply@example.com>');
    return { name: name.trim(), address: address.trim() };
  });

const emailVars = {
  SMTP_URL: url('smtp', 'smtps').describe('where mail is handed over, smtp://user:password@host:587'),
  MAIL_FROM: mailFrom,
};

const pushVars = { PUSH_SANDBOX_URL: url('http', 'https').optional() };

function readChannel(type: NotificationType, env: Env): ChannelConfig {
  if (type === 'email') {
    const vars = parseEnv(emailVars, env);
    return { type, provider: 'smtp', smtpUrl: vars.SMTP_URL, from: vars.MAIL_FROM };
  }
  return { type, provider: 'sandbox', recordUrl: parseEnv(pushVars, env).PUSH_SANDBOX_URL ?? null };
}

const isType = (text: string | undefined): text is NotificationType => NOTIFICATION_TYPES.some((type) => type === text);
