import { z } from 'zod';
import { supergraphVariables, toSupergraph } from '../contracts/supergraph.ts';
import { toWebhookKeys, webhookKeyVariables } from '../contracts/webhook-keys.ts';
import { rateLimitVariables, toRates } from '../platform/admission.ts';
import {
  count,
  logLevel,
  parseEnv,
  port,
  secret,
  secretRing,
  serviceUrl,
  trustedProxies,
  url,
  type Env,
} from '../platform/env.ts';
import { keyRing } from '../platform/tokens.ts';
import { toTracing, tracingVariables } from '../platform/tracing.ts';

/** Exact origins: a page of any other may not read our answers. */
const corsOrigins = z
  .string()
  .default('')
  .transform((text) => text.split(',').flatMap((part) => part.trim() || []))
  .refine(
    (origins) => origins.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin),
    'must be origins such as https://app.example.com, without a path; several parted by commas',
  );

/** A process that stops is ended after 30 s: what is asked just before must be answered by then. */
const MAX_REQUEST_SECONDS = 25;

const onOff = z.enum(['on', 'off']).default('on');

/** The gateway's environment. */
export const readConfig = (env: Env = process.env) => {
  const vars = parseEnv(
    {
      HOST: z.string().default('127.0.0.1'),
      PORT: port(8000),
      USER_URL: serviceUrl('http://127.0.0.1:8001'),
      TEMPLATE_URL: serviceUrl('http://127.0.0.1:8002'),
      NOTIFICATION_URL: serviceUrl('http://127.0.0.1:8003'),
      USER_SECRET: secretRing('what the user service expects requests to be signed with'),
      TEMPLATE_SECRET: secretRing('what the template service expects requests to be signed with'),
      NOTIFICATION_SECRET: secretRing('what the notification service expects requests to be signed with'),
      ADMIN_API_KEY: secretRing("the admin's key"),
      WORKER_API_KEY: secretRing("the workers' key"),
      ...webhookKeyVariables(secret),
      JWT_KEYS: keyRing.describe(
        'what access tokens are signed with: the same as the user service has, id:secret, several parted by commas',
      ),
      REDIS_URL: url('redis', 'rediss').describe('where rates are counted, redis://host:6379'),
      CACHE_PREFIX: z.string().default(''),
      AMQP_URL: url('amqp', 'amqps').describe('where RabbitMQ is, amqp://user:password@host:5672'),
      AMQP_PREFIX: z.string().default(''),
      QUEUE_TYPE: z.enum(['classic', 'quorum'], 'must be classic or quorum').default('classic'),
      CONNECTIONS_MAX: count(10_000),
      CONNECTIONS_PER_CALLER_MAX: count(1_000),
      SUBSCRIPTIONS_PER_CONNECTION_MAX: count(100),
      QUERY_COST_MAX: count(10_000),
      GRAPHQL_INTROSPECTION: onOff,
      TRUSTED_DOCUMENTS: z.enum(['off', 'log', 'enforce']).default('off'),
      TRUSTED_DOCUMENTS_PATH: z.string().optional(),
      REQUEST_TIMEOUT_SECONDS: count(10, { max: MAX_REQUEST_SECONDS }),
      CORS_ORIGINS: corsOrigins,
      TRUSTED_PROXIES: trustedProxies,
      ...rateLimitVariables,
      ...supergraphVariables,
      ...tracingVariables,
      LOG_LEVEL: logLevel,
    },
    env,
  );
  return {
    host: vars.HOST,
    port: vars.PORT,
    services: {
      user: { url: vars.USER_URL, secret: vars.USER_SECRET },
      template: { url: vars.TEMPLATE_URL, secret: vars.TEMPLATE_SECRET },
      notification: { url: vars.NOTIFICATION_URL, secret: vars.NOTIFICATION_SECRET },
    },
    supergraph: toSupergraph(vars),
    adminApiKey: vars.ADMIN_API_KEY,
    workerApiKey: vars.WORKER_API_KEY,
    webhookKeys: toWebhookKeys(vars),
    jwtKeys: vars.JWT_KEYS,
    redisUrl: vars.REDIS_URL,
    cachePrefix: vars.CACHE_PREFIX,
    amqpUrl: vars.AMQP_URL,
    amqpPrefix: vars.AMQP_PREFIX,
    queueType: vars.QUEUE_TYPE,
    subscriptions: {
      maxConnections: vars.CONNECTIONS_MAX,
      maxConnectionsPerViewer: vars.CONNECTIONS_PER_CALLER_MAX,
      maxPerConnection: vars.SUBSCRIPTIONS_PER_CONNECTION_MAX,
    },
    maxQueryCost: vars.QUERY_COST_MAX,
    introspection: vars.GRAPHQL_INTROSPECTION === 'on',
    trustedDocuments: { mode: vars.TRUSTED_DOCUMENTS, path: vars.TRUSTED_DOCUMENTS_PATH ?? null },
    requestTimeoutMs: vars.REQUEST_TIMEOUT_SECONDS * 1_000,
    corsOrigins: vars.CORS_ORIGINS,
    trustedProxies: vars.TRUSTED_PROXIES,
    rates: toRates(vars),
    tracing: toTracing(vars),
    logLevel: vars.LOG_LEVEL,
  };
};

export type GatewayConfig = ReturnType<typeof readConfig>;

/** @apollo/gateway sends usage metrics to its maker every hour, and looks for a cloud, unless this is set before it is created. */
export const disableApolloTelemetry = (): void => {
  process.env['APOLLO_TELEMETRY_DISABLED'] = 'true';
};
