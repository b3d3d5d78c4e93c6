import { toTopology, topologyNames } from '../contracts/topology.ts';
import type { Broker } from '../platform/broker/broker.ts';
import { createBroker } from '../platform/broker/create-broker.ts';
import type { Cache } from '../platform/cache/cache.ts';
import { createRedisCache } from '../platform/cache/redis.ts';
import { createHttpServer, pingService, registerHealth, listen } from '../platform/http.ts';
import { startAll } from '../platform/lifecycle.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { createMetrics, registerMetrics } from '../platform/metrics.ts';
import { createPool } from '../platform/postgres.ts';
import { createServiceClient } from '../platform/service-client.ts';
import { createTracer } from '../platform/tracing.ts';
import type { GuardedProvider } from './breaker.ts';
import { createClaims } from './claims.ts';
import type { WorkerConfig } from './config.ts';
import { startConsuming } from './consume.ts';
import { createCounters } from './counters.ts';
import { deliver, isKnowable } from './deliver.ts';
import { startNotingProviders } from './note-providers.ts';
import { createPreferencesReader } from './preferences.ts';
import { createProbe } from './probe.ts';
import { createProviders } from './providers.ts';
import { createReporter } from './report.ts';

const USER_TIMEOUT_MS = 2_000;

/** Starts the email or the push worker; health on its port. Stopping finishes the sends in flight and reports them. */
export const startWorker = (config: WorkerConfig, overrides: { broker?: Broker; cache?: Cache; log?: Logger } = {}) =>
  startAll(async (started) => {
    const log = overrides.log ?? createLogger(`${config.type}-worker`, config.logLevel);
    const tracer = started.add('the tracer', await createTracer(`${config.type}-worker`, config.tracing, log));
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
        callee: 'user',
        caller: `${config.type}-worker`,
        secret: config.userSecret,
        timeoutMs: USER_TIMEOUT_MS,
      }),
    );
    const providers = started.add(
      'the providers',
      createProviders(config.providers, config.providerEnv, {
        timeoutMs: config.providerTimeoutMs,
        concurrency: config.concurrency,
        breaker: config.breaker,
        log,
      }),
    );

    const metrics = createMetrics(`${config.type}-worker`);
    const claims = createClaims(config.type, pool, config.leaseSeconds);
    const preferences = createPreferencesReader({ cache, prefix: config.cachePrefix, users, log });
    const reporter = createReporter({ ...config, claims, log, signal: stopping.signal });
    started.add('the reporter', reporter);
    const delivery = {
      claims,
      preferences,
      providers: providers.chain,
      providerTimeoutMs: config.providerTimeoutMs,
      tracer,
      signal: stopping.signal,
      log,
    };
    const probe = started.add(
      'the probe of preferences',
      createProbe({ isKnowable: (claim) => isKnowable(claim, delivery), log, signal: stopping.signal }),
    );
    const consumer = startConsuming(config.type, {
      broker,
      names,
      claims,
      deliver: (claim, trace) => deliver(claim, { ...delivery, trace }),
      tracer,
      report: reporter.report,
      giveBack: reporter.giveBack,
      onUnknowable: probe.start,
      concurrency: config.concurrency,
      counters: createCounters(metrics, config.type, providers),
      log,
      signal: stopping.signal,
    });
    // A consumer that can't hand anything over leaves its jobs to the queue.
    const follow = () => {
      const act = providers.isAvailable() && !probe.isProbing() ? consumer.resume() : consumer.pause();
      act.catch((error: unknown) => log.error({ err: error }, 'the consumer could not be paused or resumed'));
    };
    follow();
    providers.onChange(follow);
    probe.onChange(follow);
    started.add('the notes on the providers', startNotingProviders({ pool, type: config.type, providers, log }));
    started.onStop('the consumer', () => {
      stopping.abort();
      return consumer.stop();
    });

    const app = createHttpServer(log);
    registerMetrics(app, metrics);
    registerHealth(
      app,
      {
        // Nobody is sent to a worker, so 503 costs nobody anything: it says that this one can't do its work, or not as it should.
        required: {
          postgres: () => pool.query('SELECT 1'),
          cache: () => cache.ping(),
          preferences: async () => {
            if (probe.isProbing()) throw new Error('neither the cache nor the user service answers; nothing is sent');
          },
          ...Object.fromEntries(providers.chain.map((provider) => [provider.name, async () => expectClosed(provider)])),
          broker: async () => {
            if (broker.state !== 'up') throw new Error(`the broker is ${broker.state}`);
          },
        },
        optional: { user: () => pingService(config.userUrl), gateway: () => pingService(config.gatewayUrl) },
      },
      () => ({ providers: Object.fromEntries(providers.chain.map(({ name, state }) => [name, state()])) }),
    );
    started.onStop('the server', () => app.close());
    const port = await listen(app, config.host, config.port);
    log.info({ port }, `the ${config.type} worker is up`);
    return { port };
  });

function expectClosed({ state }: GuardedProvider): void {
  const { state: circuit, reason } = state();
  if (circuit !== 'closed') throw new Error(`its circuit is ${circuit}${reason === null ? '' : `: ${reason}`}`);
}
