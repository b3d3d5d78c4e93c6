import { join } from 'node:path';
import { toTopology, topologyNames } from '../contracts/topology.ts';
import { startGateway } from '../gateway/server.ts';
import { createEmbeddedBroker } from '../platform/broker/embedded.ts';
import { createEmbeddedCache } from '../platform/cache/embedded.ts';
import { startAll, Started, withDeadline } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import { migrate } from '../prisma/migrate.ts';
import { startNotification } from '../subgraphs/notification/start.ts';
import { startTemplate } from '../subgraphs/template/start.ts';
import { startUser } from '../subgraphs/user/start.ts';
import { startWorker } from '../workers/start.ts';
import type { EmbeddedConfig } from './config.ts';
import { startMailbox } from './mailbox/start-mailbox.ts';
import { ensureDatabase, startPostgres, type Postgres } from './postgres.ts';
import { toUrlHost } from './mailbox/listening.ts';
import { preflight } from './preflight.ts';
import { readSecrets } from './secrets.ts';
import { seed } from './seed.ts';
import { withStartLock } from './start-lock.ts';

/** Says what is being done, and when it is done. */
export type Progress = <T>(name: string, work: Promise<T>) => Promise<T>;

/** So long may the services take to finish their work; the database is stopped after that in any case. */
const FINISH_MS = 3_500;

const DATABASES = { user: 'users_db', template: 'templates_db', notification: 'notifications_db' } as const;

/**
 * Starts all of Herald in this process: a real PostgreSQL beside it, broker and cache in memory, a mailbox.
 * The gateway opens last, when the whole job works.
 * @param createLog makes the logger of one service
 * @param signal gives up a start that is under way; what was started is stopped, and the signal's reason is thrown
 */
export const startEmbedded = (
  config: EmbeddedConfig,
  {
    progress,
    log,
    createLog,
    signal,
  }: {
    progress: Progress;
    log: (line: string) => void;
    createLog: (service: string) => Logger;
    signal?: AbortSignal;
  },
) =>
  startAll(async (started) => {
    const { host, ports, dataDir } = config;
    const at = (port: number) => `http://${toUrlHost(host)}:${port}`;
    await preflight(config);
    const { secrets, postgres } = await withStartLock(dataDir, async () => {
      const kept = await readSecrets(dataDir);
      const starting = startPostgres({
        dataDir: join(dataDir, 'postgres'),
        port: ports.POSTGRES_PORT,
        password: kept.postgresPassword,
        log,
        signal,
      });
      const server = await progress('PostgreSQL 18', starting);
      started.onStop('PostgreSQL', () => server.stop());
      return { secrets: kept, postgres: server };
    });
    const adminApiKey = config.adminApiKey ?? secrets.adminApiKey;
    signal?.throwIfAborted();
    await progress('databases and migrations', prepareDatabases(postgres));
    signal?.throwIfAborted();

    const services = await startAll(async (parts) => {
      const mailbox = parts.add(
        'the mailbox',
        await progress(
          'mailbox',
          startMailbox({
            smtpPort: ports.SMTP_PORT,
            httpPort: ports.MAILBOX_PORT,
            host,
            dataDir: join(dataDir, 'mailbox'),
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
        adminApiKey,
        cachePrefix: '',
        redisUrl: '',
        amqpUrl: '',
        amqpPrefix: '',
        queueType: 'classic' as const,
        leaseSeconds: config.leaseSeconds,
      };
      const user = parts.add(
        'the user service',
        await progress(
          'user service',
          startUser(
            {
              ...common,
              port: ports.USER_PORT,
              databaseUrl: postgres.urlOf(DATABASES.user),
              secret: secrets.userSecret,
              notificationUrl: at(ports.NOTIFICATION_PORT),
              notificationSecret: secrets.notificationSecret,
            },
            { cache, log: createLog('user') },
          ),
        ),
      );
      const template = parts.add(
        'the template service',
        await progress(
          'template service',
          startTemplate(
            {
              ...common,
              port: ports.TEMPLATE_PORT,
              databaseUrl: postgres.urlOf(DATABASES.template),
              secret: secrets.templateSecret,
            },
            { log: createLog('template') },
          ),
        ),
      );
      const notification = parts.add(
        'the notification service',
        await progress(
          'notification service',
          startNotification(
            {
              ...common,
              port: ports.NOTIFICATION_PORT,
              databaseUrl: postgres.urlOf(DATABASES.notification),
              queueDepthMax: 2_000,
              userUrl: at(user.port),
              templateUrl: at(template.port),
              publicUrl: config.publicUrl ?? at(ports.GATEWAY_PORT),
              userSecret: secrets.userSecret,
              templateSecret: secrets.templateSecret,
              secret: secrets.notificationSecret,
              retry: { baseSeconds: config.retryBaseSeconds, capSeconds: 4 * 3_600, maxAttempts: 12 },
              retention: { contentDays: 30, requestIdDays: 365, feedHours: 72, months: 24 },
            },
            { broker, log: createLog('notification') },
          ),
        ),
      );

      // Opened last and closed after the workers, which report through it.
      const gatewayParts = parts.add('the gateway', new Started());

      const worker = {
        ...common,
        // What a worker may do is what the role may do, here as in production.
        databaseUrl: `${postgres.urlOf(DATABASES.notification)}?options=-c%20role%3Dherald_worker`,
        gatewayUrl: at(ports.GATEWAY_PORT),
        userUrl: at(user.port),
        userSecret: secrets.userSecret,
        apiKey: secrets.workerApiKey,
        concurrency: 20,
        // Below the lease, or a mail that is still on its way would be sent again.
        providerTimeoutMs: Math.min(20_000, config.leaseSeconds * 500),
        breaker: { errorPercent: 50, minSends: 10, windowMs: 10_000, resetMs: 10_000 },
      };
      parts.add(
        'the email worker',
        await progress(
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
      parts.add(
        'the push worker',
        await progress(
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
      signal?.throwIfAborted();
      const demo = await seed({ dataDir, userUrl: at(user.port), templateUrl: at(template.port), apiKey: adminApiKey });
      const gateway = gatewayParts.add(
        'the gateway',
        await progress(
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
              webhookKeys: config.webhookKeys,
            },
            { log: createLog('gateway') },
          ),
        ),
      );
      return { url: at(gateway.port), mailboxUrl: mailbox.url, demo };
    });
    started.onStop('the services', () =>
      withDeadline(services.stop(), FINISH_MS, 'some work was still in flight; it is taken up again at the next start'),
    );
    return {
      ...services,
      adminApiKey,
      databaseUrlOf: (name: keyof typeof DATABASES) => postgres.urlOf(DATABASES[name]),
    };
  });

async function prepareDatabases(postgres: Postgres): Promise<void> {
  await Promise.all(
    (['user', 'template', 'notification'] as const).map(async (name) => {
      await ensureDatabase(postgres, DATABASES[name]);
      await migrate(name, postgres.urlOf(DATABASES[name]));
    }),
  );
}
