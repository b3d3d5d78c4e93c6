import { randomBytes } from 'node:crypto';
import type { NotificationType } from '../contracts/jobs.ts';
import type { Supergraph } from '../contracts/supergraph.ts';
import type { WebhookKeys } from '../contracts/webhook-keys.ts';
import type { TrustedDocumentsConfig } from '../gateway/limits/trusted-documents.ts';
import type { GatewayConfig } from '../gateway/config.ts';
import { startGateway } from '../gateway/server.ts';
import type { Broker } from '../platform/broker/broker.ts';
import type { Rates } from '../platform/admission.ts';
import type { Cache } from '../platform/cache/cache.ts';
import type { KeyRing } from '../platform/tokens.ts';
import { NO_TRACING, type TracingConfig } from '../platform/tracing.ts';
import type { Running } from '../platform/lifecycle.ts';
import { startNotification } from '../subgraphs/notification/start.ts';
import { startTemplate } from '../subgraphs/template/start.ts';
import { startUser } from '../subgraphs/user/start.ts';
import { startWorker } from '../workers/start.ts';
import type { Databases } from './databases.ts';
import { createTestLogger } from './test-log.ts';

/** In the order of their start: each one needs those before it. */
export const PARTS = ['user', 'template', 'notification', 'gateway', 'email', 'push'] as const;
export type Part = (typeof PARTS)[number];

export type Overrides = {
  leaseSeconds?: number;
  retry?: { baseSeconds?: number; capSeconds?: number; giveUpSeconds?: number };
  queueDepthMax?: number;
  concurrency?: number;
  providerTimeoutMs?: number;
  smtpUrl?: string;
  jwtKeys?: KeyRing;
  session?: { accessSeconds?: number; refreshDays?: number };
  emailProviders?: string[];
  pushProviders?: string[];
  /** Variables of the providers. */
  providerEnv?: Record<string, string>;
  webhookKeys?: Partial<WebhookKeys>;
  requestTimeoutMs?: number;
  introspection?: boolean;
  trustedDocuments?: TrustedDocumentsConfig;
  trustedProxies?: string[];
  corsOrigins?: string[];
  rates?: Partial<Rates>;
  tracing?: TracingConfig;
  supergraph?: Supergraph;
  subscriptions?: Partial<GatewayConfig['subscriptions']>;
  /** Over which a gateway that stops says goodbye to its subscribers; 0.1 s when left out. */
  drainMs?: number;
  breaker?: { errorPercent?: number; minSends?: number; windowMs?: number; resetMs?: number };
};

type Surroundings = {
  databases: Databases;
  prefix: string;
  amqpUrl: string;
  redisUrl: string;
  /** Shared by all parts when it is the embedded one; without it each part connects by itself, as in production. */
  broker?: Broker;
  cache?: Cache;
  mailbox: { smtpUrl: string; url: string };
  urlOf: (part: Part) => string;
  overrides: Overrides;
};

/** Prepares the start of every part, wired as in production. */
export function createParts({ databases, broker, cache, mailbox, urlOf, overrides, ...rest }: Surroundings) {
  const host = '127.0.0.1';
  const schedule = { baseSeconds: 0.2, capSeconds: 1, giveUpSeconds: 60, ...overrides.retry };
  const secrets = { user: secret(), template: secret(), notification: secret(), worker: secret(), admin: secret() };
  const jwtKeys: KeyRing = [{ id: 'story', secret: secret() + secret() }];
  const common = {
    host,
    logLevel: 'debug' as const,
    tracing: overrides.tracing ?? NO_TRACING,
    // Read anew by each start: a story may have changed it.
    get adminApiKey() {
      return secrets.admin;
    },
    amqpUrl: rest.amqpUrl,
    redisUrl: rest.redisUrl,
    amqpPrefix: rest.prefix,
    cachePrefix: rest.prefix,
    trustedProxies: overrides.trustedProxies ?? [],
    corsOrigins: overrides.corsOrigins ?? [],
    rates: { clientPerMinute: 0, userPerMinute: 0, addressPerMinute: 0, ...overrides.rates },
    queueType: 'classic' as const,
    leaseSeconds: overrides.leaseSeconds ?? 30,
  };
  const startChannel = (
    port: number,
    type: NotificationType,
    providers: string[],
    providerEnv: Record<string, string>,
  ): ReturnType<typeof startWorker> =>
    startWorker(
      {
        ...common,
        type,
        port,
        providers,
        providerEnv: { ...providerEnv, ...overrides.providerEnv },
        databaseUrl: databases.urlOf('worker'),
        gatewayUrl: urlOf('gateway'),
        userUrl: urlOf('user'),
        userSecret: secrets.user,
        apiKey: secrets.worker,
        concurrency: overrides.concurrency ?? 10,
        providerTimeoutMs: overrides.providerTimeoutMs ?? 10_000,
        breaker: { errorPercent: 50, minSends: 10, windowMs: 10_000, resetMs: 1_000, ...overrides.breaker },
      },
      { broker, cache, log: createTestLogger(`${type}-worker`) },
    );

  const start: Record<Part, (port: number) => Promise<Running & { port: number }>> = {
    user: (port) =>
      startUser(
        {
          ...common,
          port,
          databaseUrl: databases.urlOf('user'),
          secret: secrets.user,
          notificationUrl: urlOf('notification'),
          notificationSecret: secrets.notification,
          jwtKeys: overrides.jwtKeys ?? jwtKeys,
          session: { accessSeconds: 900, refreshDays: 30, ...overrides.session },
        },
        { cache, log: createTestLogger('user') },
      ),
    template: (port) =>
      startTemplate(
        {
          ...common,
          port,
          databaseUrl: databases.urlOf('template'),
          secret: secrets.template,
          userUrl: urlOf('user'),
          userSecret: secrets.user,
        },
        { log: createTestLogger('template') },
      ),
    notification: (port) =>
      startNotification(
        {
          ...common,
          port,
          databaseUrl: databases.urlOf('notification'),
          queueDepthMax: overrides.queueDepthMax ?? 2_000,
          userUrl: urlOf('user'),
          templateUrl: urlOf('template'),
          publicUrl: urlOf('gateway'),
          userSecret: secrets.user,
          templateSecret: secrets.template,
          secret: secrets.notification,
          retention: { contentDays: 30, requestIdDays: 365, feedHours: 72, months: 24 },
          retry: { email: schedule, push: schedule },
        },
        { broker, log: createTestLogger('notification') },
      ),
    gateway: (port) =>
      startGateway(
        {
          ...common,
          port,
          services: {
            user: { url: urlOf('user'), secret: secrets.user },
            template: { url: urlOf('template'), secret: secrets.template },
            notification: { url: urlOf('notification'), secret: secrets.notification },
          },
          workerApiKey: secrets.worker,
          webhookKeys: { sendgrid: null, mailgun: null, onesignal: null, bounces: null, ...overrides.webhookKeys },
          jwtKeys: overrides.jwtKeys ?? jwtKeys,
          maxQueryCost: 10_000,
          introspection: overrides.introspection ?? true,
          trustedDocuments: overrides.trustedDocuments ?? { mode: 'off', path: null },
          requestTimeoutMs: overrides.requestTimeoutMs ?? 10_000,
          supergraph: overrides.supergraph ?? { path: null, extraSubgraphs: {} },
          subscriptions: {
            maxConnections: 10_000,
            maxConnectionsPerViewer: 1_000,
            maxPerConnection: 100,
            ...overrides.subscriptions,
          },
        },
        { broker, log: createTestLogger('gateway'), drainMs: overrides.drainMs ?? 100 },
      ),
    email: (port) =>
      startChannel(port, 'email', overrides.emailProviders ?? ['smtp'], {
        SMTP_URL: overrides.smtpUrl ?? mailbox.smtpUrl,
        MAIL_FROM: 'Herald <no-reply@herald.example>',
      }),
    push: (port) =>
      startChannel(port, 'push', overrides.pushProviders ?? ['sandbox'], {
        PUSH_SANDBOX_URL: `${mailbox.url}/api/v1/push`,
      }),
  };
  return { start, secrets };
}

const secret = () => randomBytes(18).toString('base64url');
