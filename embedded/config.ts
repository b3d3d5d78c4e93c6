import { resolve } from 'node:path';
import { z } from 'zod';
import { supergraphVariables, toSupergraph } from '../contracts/supergraph.ts';
import { toWebhookKeys, webhookKeyVariables } from '../contracts/webhook-keys.ts';
import { toTracing, tracingVariables } from '../platform/tracing.ts';
import { count, logLevel, parseEnv, port, secret, secretRing, url, type Env } from '../platform/env.ts';

/** The environment of `npm start`. Every part has a port of its own, so that a second Herald can run beside the first. */
export const readConfig = (env: Env = process.env) => {
  const vars = parseEnv(
    {
      HOST: z.string().default('127.0.0.1'),
      GATEWAY_PORT: port(8000),
      USER_PORT: port(8001),
      TEMPLATE_PORT: port(8002),
      NOTIFICATION_PORT: port(8003),
      EMAIL_WORKER_PORT: port(8004),
      PUSH_WORKER_PORT: port(8005),
      SMTP_PORT: port(1025),
      MAILBOX_PORT: port(8025),
      POSTGRES_PORT: port(54320),
      DATA_DIR: z.string().default('.data'),
      ADMIN_API_KEY: secretRing("the admin's key").optional(),
      PUBLIC_URL: url('http', 'https').optional(),
      ...webhookKeyVariables(secret),
      ...supergraphVariables,
      LEASE_SECONDS: count(60, { min: 2 }),
      RETRY_BASE_SECONDS: count(60),
      ...tracingVariables,
      LOG_LEVEL: logLevel,
    },
    env,
  );
  return {
    host: vars.HOST,
    ports: {
      GATEWAY_PORT: vars.GATEWAY_PORT,
      USER_PORT: vars.USER_PORT,
      TEMPLATE_PORT: vars.TEMPLATE_PORT,
      NOTIFICATION_PORT: vars.NOTIFICATION_PORT,
      EMAIL_WORKER_PORT: vars.EMAIL_WORKER_PORT,
      PUSH_WORKER_PORT: vars.PUSH_WORKER_PORT,
      SMTP_PORT: vars.SMTP_PORT,
      MAILBOX_PORT: vars.MAILBOX_PORT,
      POSTGRES_PORT: vars.POSTGRES_PORT,
    },
    dataDir: resolve(vars.DATA_DIR),
    adminApiKey: vars.ADMIN_API_KEY,
    publicUrl: vars.PUBLIC_URL?.replace(/\/+$/, ''),
    webhookKeys: toWebhookKeys(vars),
    supergraph: toSupergraph(vars),
    leaseSeconds: vars.LEASE_SECONDS,
    retryBaseSeconds: vars.RETRY_BASE_SECONDS,
    tracing: toTracing(vars),
    logLevel: vars.LOG_LEVEL,
  };
};

export type EmbeddedConfig = ReturnType<typeof readConfig>;
export type PortVariable = keyof EmbeddedConfig['ports'];
