import type { EmailMessage, Message, PushMessage } from '../contracts/message.ts';
import { toTopology, topologyNames } from '../contracts/topology.ts';
import type { Broker } from '../platform/broker/broker.ts';
import { createBroker } from '../platform/broker/create-broker.ts';
import type { Cache } from '../platform/cache/cache.ts';
import { createRedisCache } from '../platform/cache/redis.ts';
import { createHttpServer, registerHealth, listen } from '../platform/http.ts';
import { startAll } from '../platform/lifecycle.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { createMetrics, registerMetrics } from '../platform/metrics.ts';
import { createPool } from '../platform/postgres.ts';
import { createServiceClient } from '../platform/service-client.ts';
import { withBreaker } from './breaker.ts';
import { createClaims } from './claims.ts';
import type { ChannelConfig, WorkerConfig } from './config.ts';
import { startConsuming } from './consume.ts';
import { createCounters } from './counters.ts';
import { deliver } from './deliver.ts';
import { createSmtpProvider } from './email/smtp.ts';
import { startNotingProvider } from './note-provider.ts';
import { createPreferencesReader } from './preferences.ts';
import type { Provider } from './provider.ts';
import { createSandboxProvider } from './push/sandbox.ts';
import { createReporter } from './report.ts';

const USER_TIMEOUT_MS = 2_000;

/** Starts the email or the push worker; health on its port. Stopping finishes the sends in flight and reports them. */
export const startWorker = (config: WorkerConfig, overrides: { broker?: Broker; cache?: Cache; log?: Logger } = {}) =>
  startAll(async (started) => {
    const log = overrides.log ?? createLogger(`${config.type}-worker`, config.logLevel);
    const stopping = new AbortController();
    const pool = createPool(config.databaseUrl, { max: 5, log });
    started.onStop('notifications_db', () => pool.end());
    const names = topologyNames(config.amqpPrefix);
    const broker =
      overrides.broker ??
      started.add(
        'the broker',
        createBroker(config.amqpUrl, { topology: toTopology(names), queueType: config.queueType, log }),
      );
    const cache = overrides.cache ?? started.add('the cache', createRedisCache(config.redisUrl, log));
    const users = started.add(
      'the user client',
      createServiceClient({
        url: config.userUrl,
        caller: `${config.type}-worker`,
        secret: config.userSecret,
        timeoutMs: USER_TIMEOUT_MS,
      }),
    );
    const provider = withBreaker(createProvider(config.channel, config, log), config.breaker, log);
    started.onStop('the provider', () => provider.stop());

    const metrics = createMetrics(`${config.type}-worker`);
    const claims = createClaims(pool, config.leaseSeconds);
    const preferences = createPreferencesReader({ cache, prefix: config.cachePrefix, users, log });
    const reporter = createReporter({ ...config, claims, log, signal: stopping.signal });
    started.add('the reporter', reporter);
    const consumer = startConsuming(config.type, {
      broker,
      names,
      claims,
      deliver: (claim) =>
        deliver(claim, { claims, preferences, provider, providerTimeoutMs: config.providerTimeoutMs, log }),
      report: reporter.report,
      concurrency: config.concurrency,
      counters: createCounters(metrics, provider),
      log,
      signal: stopping.signal,
    });
    // A consumer that can't hand anything over leaves its jobs to the queue.
    provider.onChange(() => {
      const act = provider.isAvailable() ? consumer.resume() : consumer.pause();
      act.catch((error: unknown) => log.error({ err: error }, 'the consumer could not be paused or resumed'));
    });
    started.add('the notes on the provider', startNotingProvider({ pool, type: config.type, provider, log }));
    started.onStop('the consumer', () => {
      stopping.abort();
      return consumer.stop();
    });

    const app = createHttpServer(log);
    registerMetrics(app, metrics);
    registerHealth(app, {
      postgres: () => pool.query('SELECT 1'),
      cache: () => cache.ping(),
      [provider.name]: async () => {
        const { state, reason } = provider.state();
        if (state !== 'closed') throw new Error(`its circuit is ${state}${reason === null ? '' : `: ${reason}`}`);
      },
      broker: async () => {
        if (broker.state !== 'up') throw new Error(`the broker is ${broker.state}`);
      },
    });
    started.onStop('the server', () => app.close());
    const port = await listen(app, config.host, config.port);
    log.info({ port }, `the ${config.type} worker is up`);
    return { port };
  });

function createProvider(channel: ChannelConfig, config: WorkerConfig, log: Logger): Provider {
  switch (channel.type) {
    case 'email':
      return forMessages<EmailMessage>(
        'email',
        createSmtpProvider({
          url: channel.smtpUrl,
          from: channel.from,
          // A send that was given up holds its connection until the server answers or the socket times out.
          connections: 2 * config.concurrency,
          timeoutMs: config.providerTimeoutMs,
        }),
      );
    case 'push':
      return forMessages<PushMessage>('push', createSandboxProvider({ recordUrl: channel.recordUrl, log }));
  }
}

/** A worker has one channel's provider; a message of the other type on its queue is a permanent fault. */
const forMessages = <M extends Message>(type: M['type'], provider: Provider<M>): Provider => ({
  ...provider,
  async send(message, context) {
    if (message.type !== type) return { class: 'permanent', reason: `a ${message.type} message on the ${type} queue` };
    return provider.send(message as M, context);
  },
});
