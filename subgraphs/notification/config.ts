import { z } from 'zod';
import { count, logLevel, parseEnv, port, secretRing, serviceUrl, url, type Env } from '../../platform/env.ts';
import { toTracing, tracingVariables } from '../../platform/tracing.ts';

/** The notification service's environment. */
export const readConfig = (env: Env = process.env) => {
  const vars = parseEnv(
    {
      HOST: z.string().default('127.0.0.1'),
      PORT: port(8003),
      NOTIFICATIONS_DATABASE_URL: url('postgresql', 'postgres').describe(
        'the URL of notifications_db, postgresql://user:password@host:5432/notifications_db',
      ),
      AMQP_URL: url('amqp', 'amqps').describe('where RabbitMQ is, amqp://user:password@host:5672'),
      AMQP_PREFIX: z.string().default(''),
      QUEUE_TYPE: z.enum(['classic', 'quorum'], 'must be classic or quorum').default('classic'),
      QUEUE_DEPTH_MAX: count(2_000),
      USER_URL: serviceUrl('http://127.0.0.1:8001'),
      TEMPLATE_URL: serviceUrl('http://127.0.0.1:8002'),
      PUBLIC_URL: serviceUrl('http://127.0.0.1:8000'),
      USER_SECRET: secretRing('what the user service expects requests to be signed with'),
      TEMPLATE_SECRET: secretRing('what the template service expects requests to be signed with'),
      NOTIFICATION_SECRET: secretRing('what callers of this service sign with'),
      LEASE_SECONDS: count(60, { min: 2 }),
      RETRY_BASE_SECONDS: count(60),
      RETRY_CAP_SECONDS: count(4 * 3600),
      RETRY_GIVE_UP_SECONDS: count(24 * 3600),
      PUSH_RETRY_BASE_SECONDS: count(10),
      PUSH_RETRY_CAP_SECONDS: count(15 * 60),
      PUSH_RETRY_GIVE_UP_SECONDS: count(4 * 3600),
      CONTENT_RETENTION_DAYS: count(30),
      REQUEST_ID_RETENTION_DAYS: count(365),
      FEED_RETENTION_HOURS: count(72),
      // A send may wait for a year, in the month of its acceptance.
      NOTIFICATION_RETENTION_MONTHS: count(24, { min: 13 }),
      ...tracingVariables,
      LOG_LEVEL: logLevel,
    },
    env,
  );
  return {
    host: vars.HOST,
    port: vars.PORT,
    databaseUrl: vars.NOTIFICATIONS_DATABASE_URL,
    amqpUrl: vars.AMQP_URL,
    amqpPrefix: vars.AMQP_PREFIX,
    queueType: vars.QUEUE_TYPE,
    queueDepthMax: vars.QUEUE_DEPTH_MAX,
    userUrl: vars.USER_URL,
    templateUrl: vars.TEMPLATE_URL,
    publicUrl: vars.PUBLIC_URL,
    userSecret: vars.USER_SECRET,
    templateSecret: vars.TEMPLATE_SECRET,
    secret: vars.NOTIFICATION_SECRET,
    leaseSeconds: vars.LEASE_SECONDS,
    retry: {
      email: {
        baseSeconds: vars.RETRY_BASE_SECONDS,
        capSeconds: vars.RETRY_CAP_SECONDS,
        giveUpSeconds: vars.RETRY_GIVE_UP_SECONDS,
      },
      push: {
        baseSeconds: vars.PUSH_RETRY_BASE_SECONDS,
        capSeconds: vars.PUSH_RETRY_CAP_SECONDS,
        giveUpSeconds: vars.PUSH_RETRY_GIVE_UP_SECONDS,
      },
    },
    retention: {
      contentDays: vars.CONTENT_RETENTION_DAYS,
      requestIdDays: vars.REQUEST_ID_RETENTION_DAYS,
      feedHours: vars.FEED_RETENTION_HOURS,
      months: vars.NOTIFICATION_RETENTION_MONTHS,
    },
    tracing: toTracing(vars),
    logLevel: vars.LOG_LEVEL,
  };
};

export type NotificationConfig = ReturnType<typeof readConfig>;
