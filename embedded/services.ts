import { join } from 'node:path';
import { toTopology, topologyNames } from '../contracts/topology.ts';
import { startGateway } from '../gateway/server.ts';
import { createEmbeddedBroker } from '../platform/broker/embedded.ts';
import { createEmbeddedCache } from '../platform/cache/embedded.ts';
import { Started, untilAborted } from '../platform/lifecycle.ts';
import { toRing } from '../platform/secret-ring.ts';
import type { Logger } from '../platform/logger.ts';
import { startNotification } from '../subgraphs/notification/start.ts';
import { startTemplate } from '../subgraphs/template/start.ts';
import { startUser } from '../subgraphs/user/start.ts';
import { startWorker } from '../workers/start.ts';
import type { EmbeddedConfig } from './config.ts';
import { toUrlHost } from './mailbox/listening.ts';
import { startMailbox } from './mailbox/start-mailbox.ts';
import type { Secrets } from './secrets.ts';
import { seed } from './seed.ts';
import type { Progress } from './start.ts';

/** All must be gone within 5 s, so a request gets less here than at a gateway of its own. */
const GATEWAY_GRACE_MS = 2_000;
const DRAIN_MS = 300;

/**
 * Starts everything but PostgreSQL, in the order of who needs whom: mailbox, broker, cache, services, workers, gateway.
 * Stopping goes the other way, after the gateway has stopped taking requests from outside.
 * @param parts collects what must be stopped, also when this fails
 */
export async function startServices(
  parts: Started,
  {
    config,
    secrets,
    adminApiKey,
    databaseUrlOf,
    progress,
    log,
    createLog,
    signal,
  }: {
    config: EmbeddedConfig;
    secrets: Secrets;
    adminApiKey: string;
    databaseUrlOf: (name: 'user' | 'template' | 'notification') => string;
    progress: Progress;
    log: (line: string) => void;
    createLog: (service: string) => Logger;
    signal: AbortSignal | undefined;
  },
) {
  const { host, ports, dataDir } = config;
  const at = (port: number) => `http://${toUrlHost(host)}:${port}`;
  const step: Progress = (name, work) => progress(name, untilAborted(work, signal));
  const mailbox = parts.add(
    'the mailbox',
    await step(
      'mailbox',
      startMailbox({
        smtpPort: ports.SMTP_PORT,
        httpPort: ports.MAILBOX_PORT,
        host,
        dataDir: join(dataDir, 'mailbox'),
        pushDir: join(dataDir, 'push'),
        log,
      }),
    ),
  );
  const broker = parts.add(
    'the broker',
    createEmbeddedBroker({
      topology: toTopology(topologyNames('')),
      queueType: 'classic',
      log: createLog('broker'),
    }),
  );
  const cache = createEmbeddedCache();
  parts.add('the cache', cache);

  const common = {
    host,
    logLevel: config.logLevel,
    tracing: config.tracing,
    adminApiKey,
    cachePrefix: '',
    trustedProxies: [],
    rates: { clientPerMinute: 6_000, userPerMinute: 600, addressPerMinute: 120 },
    redisUrl: '',
    amqpUrl: '',
    amqpPrefix: '',
    queueType: 'classic' as const,
    leaseSeconds: config.leaseSeconds,
  };
  const jwtKeys = [{ id: 'embedded', secret: secrets.jwtSecret }] as const;
  const user = parts.add(
    'the user service',
    await step(
      'user service',
      startUser(
        {
          ...common,
          port: ports.USER_PORT,
          databaseUrl: databaseUrlOf('user'),
          secret: secrets.userSecret,
          notificationUrl: at(ports.NOTIFICATION_PORT),
          notificationSecret: secrets.notificationSecret,
          jwtKeys,
          session: { accessSeconds: 15 * 60, refreshDays: 30 },
        },
        { cache, log: createLog('user') },
      ),
    ),
  );
  const template = parts.add(
    'the template service',
    await step(
      'template service',
      startTemplate(
        {
          ...common,
          port: ports.TEMPLATE_PORT,
          databaseUrl: databaseUrlOf('template'),
          secret: secrets.templateSecret,
          userUrl: at(ports.USER_PORT),
          userSecret: secrets.userSecret,
        },
        { log: createLog('template') },
      ),
    ),
  );
  const notification = parts.add(
    'the notification service',
    await step(
      'notification service',
      startNotification(
        {
          ...common,
          port: ports.NOTIFICATION_PORT,
          databaseUrl: databaseUrlOf('notification'),
          queueDepthMax: 2_000,
          userUrl: at(user.port),
          templateUrl: at(template.port),
          publicUrl: config.publicUrl ?? at(ports.GATEWAY_PORT),
          userSecret: secrets.userSecret,
          templateSecret: secrets.templateSecret,
          secret: secrets.notificationSecret,
          retry: {
            email: { baseSeconds: config.retryBaseSeconds, capSeconds: 4 * 3_600, giveUpSeconds: 24 * 3_600 },
            push: { baseSeconds: config.retryBaseSeconds, capSeconds: 15 * 60, giveUpSeconds: 4 * 3_600 },
          },
          retention: { contentDays: 30, requestIdDays: 365, feedHours: 72, months: 24 },
        },
        { broker, log: createLog('notification') },
      ),
    ),
  );

  // Opened last and closed after the workers, which report through it.
  const gatewayParts = parts.add('the gateway', new Started());
  const workers = parts.add('the workers', new Started('together'));

  const worker = {
    ...common,
    // What a worker may do is what the role may do, here as in production.
    databaseUrl: `${databaseUrlOf('notification')}?options=-c%20role%3Dherald_worker`,
    gatewayUrl: at(ports.GATEWAY_PORT),
    userUrl: at(user.port),
    userSecret: secrets.userSecret,
    apiKey: secrets.workerApiKey,
    concurrency: 20,
    // Below the lease, or a mail that is still on its way would be sent again.
    providerTimeoutMs: Math.min(20_000, config.leaseSeconds * 500),
    breaker: { errorPercent: 50, minSends: 10, windowMs: 10_000, resetMs: 10_000 },
  };
  workers.add(
    'the email worker',
    await step(
      'email worker',
      startWorker(
        {
          ...worker,
          type: 'email',
          port: ports.EMAIL_WORKER_PORT,
          providers: ['smtp'],
          providerEnv: { SMTP_URL: mailbox.smtpUrl },
        },
        { broker, cache, log: createLog('email-worker') },
      ),
    ),
  );
  workers.add(
    'the push worker',
    await step(
      'push worker',
      startWorker(
        {
          ...worker,
          type: 'push',
          port: ports.PUSH_WORKER_PORT,
          providers: ['sandbox'],
          providerEnv: { PUSH_SANDBOX_URL: `${mailbox.url}/api/v1/push` },
        },
        { broker, cache, log: createLog('push-worker') },
      ),
    ),
  );
  const demo = await untilAborted(
    seed({ dataDir, userUrl: at(user.port), templateUrl: at(template.port), apiKey: toRing(adminApiKey)[0].secret }),
    signal,
  );
  const gateway = gatewayParts.add(
    'the gateway',
    await step(
      'gateway',
      startGateway(
        {
          ...common,
          port: ports.GATEWAY_PORT,
          services: {
            user: { url: at(user.port), secret: secrets.userSecret },
            template: { url: at(template.port), secret: secrets.templateSecret },
            notification: { url: at(notification.port), secret: secrets.notificationSecret },
          },
          workerApiKey: secrets.workerApiKey,
          jwtKeys,
          webhookKeys: config.webhookKeys,
          corsOrigins: [],
          maxQueryCost: 10_000,
          introspection: true,
          trustedDocuments: { mode: 'off', path: null },
          requestTimeoutMs: 10_000,
          supergraph: config.supergraph,
          subscriptions: { maxConnections: 10_000, maxConnectionsPerViewer: 1_000, maxPerConnection: 100 },
        },
        { broker, log: createLog('gateway'), closeGraceMs: GATEWAY_GRACE_MS, drainMs: DRAIN_MS },
      ),
    ),
  );
  // What is sent from here on would only have to wait for the next start.
  parts.onStop('the intake', gateway.refuseNew);
  return { url: at(gateway.port), mailboxUrl: mailbox.url, demo };
}
