import { toTopology, topologyNames } from '../../contracts/topology.ts';
import type { Broker } from '../../platform/broker/broker.ts';
import { createBroker } from '../../platform/broker/create-broker.ts';
import { startAll } from '../../platform/lifecycle.ts';
import { createLogger, type Logger } from '../../platform/logger.ts';
import { createMetrics } from '../../platform/metrics.ts';
import { pingService } from '../../platform/http.ts';
import { createPool } from '../../platform/postgres.ts';
import { createServiceClient } from '../../platform/service-client.ts';
import { createTracer } from '../../platform/tracing.ts';
import { serveSubgraph } from '../serve.ts';
import type { NotificationConfig } from './config.ts';
import { createCursors } from '../../platform/feed-cursor.ts';
import { createStreamTokens } from '../../platform/stream-token.ts';
import { startFeedNumberer } from './feed.ts';
import { createCounters } from './counters.ts';
import { createWhereabouts } from './find-whereabouts.ts';
import { createGauges, createQueueGauge } from './gauges.ts';
import { createNotificationLists } from './notification-list.ts';
import { createPeers } from './peers.ts';
import { startRetention } from './retention.ts';
import { startRelay } from './relay.ts';
import { createResolvers } from './resolvers.ts';
import { createStore } from './store.ts';
import { startSweeper } from './sweep.ts';
import { startTellingDeadTokens } from './tell-dead-tokens.ts';
import { createUnsubscribeLinks } from './unsubscribe-link.ts';

/** User and template must answer within this, or the send is refused with 503. */
const PEER_TIMEOUT_MS = 2_000;

/** Starts the notification service (8003): notifications_db, relay, sweeper, GraphQL. */
export const startNotification = (config: NotificationConfig, overrides: { broker?: Broker; log?: Logger } = {}) =>
  startAll(async (started) => {
    const log = overrides.log ?? createLogger('notification', config.logLevel);
    const tracer = started.add('the tracer', await createTracer('notification', config.tracing, log));
    // Three loops of the relay hold a connection each while they publish; the rest is for requests.
    const pool = createPool(config.databaseUrl, { max: 20, log });
    started.onStop('notifications_db', () => pool.end());
    // What workers report must not wait behind requests: their leases run.
    const reportPool = createPool(config.databaseUrl, { max: 5, log });
    started.onStop('notifications_db for reports', () => reportPool.end());
    const sweepPool = createPool(config.databaseUrl, { max: 2, log });
    started.onStop('notifications_db for the sweeper', () => sweepPool.end());
    const store = createStore(pool);
    started.onStop('the Prisma client', () => store.stop());
    const metrics = createMetrics('notification');
    const counters = createCounters(metrics);
    createGauges(metrics, { pool, log });
    started.add('retention', await startRetention({ pool, retention: config.retention, counters, log }));

    const names = topologyNames(config.amqpPrefix);
    const broker =
      overrides.broker ??
      started.add(
        'the broker',
        createBroker(config.amqpUrl, { topology: toTopology(names), queueType: config.queueType, log }),
      );
    createQueueGauge(metrics, { broker, names });
    const relay = started.add(
      'the relay',
      startRelay({ pool, broker, names, queueDepthMax: config.queueDepthMax, counters, tracer, log }),
    );

    const feed = started.add('the feed', startFeedNumberer({ pool, broker, names, tracer, log }));
    const users = started.add(
      'the user client',
      createServiceClient({
        url: config.userUrl,
        callee: 'user',
        caller: 'notification',
        secret: config.userSecret,
        timeoutMs: PEER_TIMEOUT_MS,
      }),
    );
    started.add('the news of dead tokens', startTellingDeadTokens({ pool, users, log }));
    const templates = started.add(
      'the template client',
      createServiceClient({
        url: config.templateUrl,
        callee: 'template',
        caller: 'notification',
        secret: config.templateSecret,
        timeoutMs: PEER_TIMEOUT_MS,
      }),
    );
    const reports = {
      pool: reportPool,
      schedules: config.retry,
      counters,
      onQueued: () => {
        relay.wake('email');
        relay.wake('push');
        relay.wake('failed');
      },
      onChanged: () => feed.wake(),
    };
    started.add(
      'the sweeper',
      startSweeper({ ...reports, pool: sweepPool, leaseSeconds: config.leaseSeconds, broker, names, log }),
    );
    const server = await serveSubgraph({
      name: 'notification',
      pool,
      host: config.host,
      port: config.port,
      secret: config.secret,
      resolvers: createResolvers({
        pool,
        store,
        lists: createNotificationLists(pool),
        peers: createPeers(users, templates),
        cursors: createCursors(config.secret),
        streamTokens: createStreamTokens(config.secret),
        links: createUnsubscribeLinks(config.secret, config.publicUrl),
        reports,
        isTraced: tracer.isOn,
        log,
        findWhereabouts: createWhereabouts(pool),
        isBrokerUp: () => broker.state === 'up',
        onAccepted: (type) => {
          counters.accepted.inc({ type });
          relay.wake(type);
          feed.wake();
        },
      }),
      tracer,
      log,
      metrics,
      checks: {
        required: { postgres: () => pool.query('SELECT 1') },
        optional: {
          user: () => pingService(config.userUrl),
          template: () => pingService(config.templateUrl),
          broker: async () => {
            if (broker.state !== 'up')
              throw new Error(`the broker is ${broker.state}; sends are accepted and go out when it is back`);
          },
        },
      },
    });
    started.add('the server', server);
    log.info({ port: server.port }, 'the notification service is up');
    return { port: server.port, relay };
  });
