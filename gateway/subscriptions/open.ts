import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import proxyAddress from '@fastify/proxy-addr';
import { Counter, Gauge } from 'prom-client';
import type { TopologyNames } from '../../contracts/topology.ts';
import type { Admission } from '../../platform/admission.ts';
import type { Broker } from '../../platform/broker/broker.ts';
import type { Authenticate } from '../../platform/credentials.ts';
import { createCursors } from '../../platform/feed-cursor.ts';
import { startAll } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { ServiceClient } from '../../platform/service-client.ts';
import { createStreamTokens } from '../../platform/stream-token.ts';
import { createTokenVerifier } from '../../platform/tokens.ts';
import type { Tracer } from '../../platform/tracing.ts';
import type { GatewayConfig } from '../config.ts';
import type { TrustedDocuments } from '../limits/trusted-documents.ts';
import type { Engine } from './engine.ts';
import { createEventStreams } from './event-stream.ts';
import { createExecutions } from './executions.ts';
import { createShow } from './faults.ts';
import { startFeedHub } from './feed-hub.ts';
import { registerGraphqlSse } from './graphql-sse.ts';
import { registerPlainSse } from './plain-sse.ts';
import { createFeedReader } from './read-feed.ts';
import { createSessions } from './sessions.ts';
import { subscribe, type Subscribe } from './subscribe.ts';
import { openWebSockets } from './websocket.ts';

/** Opens the doors to live status: one hub and one engine behind WebSockets, GraphQL over SSE and plain SSE. */
export const openSubscriptions = (
  app: FastifyInstance,
  config: GatewayConfig,
  deps: {
    broker: Broker;
    names: TopologyNames;
    notification: Pick<ServiceClient, 'graphql'>;
    engine: Engine;
    authenticate: Authenticate;
    admission: Admission;
    trusted: TrustedDocuments;
    metrics: Metrics;
    tracer: Tracer;
    log: Logger;
  },
) =>
  startAll(async (started) => {
    const { broker, names, notification, engine, authenticate, admission, trusted, log } = deps;
    const reader = createFeedReader(notification, config.requestTimeoutMs);
    const hub = started.add(
      'the feed',
      startFeedHub({ broker, names, readFeed: reader.readFeed, tracer: deps.tracer, log }),
    );
    const show = createShow(config.introspection, log);
    const executions = createExecutions(engine, { timeoutMs: config.requestTimeoutMs, show });
    const sources = { hub, reader, cursors: createCursors(config.services.notification.secret) };
    const sessions = started.add(
      'the sessions',
      createSessions({
        authenticate,
        verifyToken: createTokenVerifier(config.jwtKeys),
        maxPerViewer: config.subscriptions.maxConnectionsPerViewer,
      }),
    );
    const streams = createEventStreams(config.subscriptions.maxConnections);
    started.onStop('the event streams', () => streams.stop());

    const ended = createEndCounter(deps.metrics);
    const common = {
      sessions,
      admission,
      trusted,
      streams,
      prepare: engine.prepare,
      subscribe: ((...asked) => subscribe({ ...sources, executions, show }, ...asked)) satisfies Subscribe,
      show,
      countEnd: (reason: string) => ended.inc({ reason }),
      log,
    };
    registerGraphqlSse(app, '/graphql/stream', common);
    registerPlainSse(app, { ...common, sources, tokens: createStreamTokens(config.services.notification.secret) });
    const trust = proxyAddress.compile(config.trustedProxies);
    const sockets = started.add(
      'the WebSockets',
      openWebSockets(
        app.server,
        {
          path: '/graphql',
          origins: config.corsOrigins,
          maxSockets: config.subscriptions.maxConnections,
          maxSubscriptionsPerSocket: config.subscriptions.maxPerConnection,
        },
        { ...common, addressOf: (request: IncomingMessage) => proxyAddress(request, trust) },
      ),
    );
    createGauges(deps.metrics, {
      herald_subscription_sockets: ['WebSockets that are open', () => sockets.count()],
      herald_subscription_streams: ['Server-sent event streams that are open', () => streams.count()],
      herald_feed_lag_events: ['Events that the gateway knows of and has not passed on yet', () => hub.counts().lag],
      herald_subscribers: ['Subscriptions that are followed', () => hub.counts().followers],
      herald_subscription_selections: [
        'Different selections, for each viewer, that are executed',
        () => executions.counts().shared,
      ],
    });
    createTotals(deps.metrics, {
      herald_feed_events_total: ['Status changes that the gateway heard of', () => hub.counts().events],
      herald_feed_ranges_total: [
        'Questions for a part of the feed, at start and after a loss',
        () => hub.counts().ranges,
      ],
      herald_subscription_executions_total: ['Selections executed on an event', () => executions.counts().runs],
    });

    return {
      /** Takes no more subscribers and says goodbye to those there are, spread over the time. */
      drain: async (withinMs: number) => {
        await Promise.all([sockets.drain(withinMs), streams.drain(withinMs)]);
      },
    };
  });

const createEndCounter = (metrics: Metrics) =>
  new Counter({
    name: 'herald_subscriptions_ended_total',
    help: 'Subscriptions and connections that ended, by why',
    labelNames: ['reason'],
    registers: [metrics],
  });

function createGauges(metrics: Metrics, gauges: Record<string, [help: string, read: () => number]>): void {
  for (const [name, [help, read]] of Object.entries(gauges))
    new Gauge({
      name,
      help,
      registers: [metrics],
      collect() {
        this.set(read());
      },
    });
}

function createTotals(metrics: Metrics, totals: Record<string, [help: string, read: () => number]>): void {
  for (const [name, [help, read]] of Object.entries(totals))
    new Counter({
      name,
      help,
      registers: [metrics],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
}
