import { ApolloGateway } from '@apollo/gateway';
import { ApolloServer, type ApolloServerPlugin } from '@apollo/server';
import {
  ApolloServerPluginInlineTraceDisabled,
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled';
import { fastifyApolloHandler } from '@as-integrations/fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ANONYMOUS } from '../contracts/scopes.ts';
import { toTopology, topologyNames } from '../contracts/topology.ts';
import type { Broker } from '../platform/broker/broker.ts';
import { createBroker } from '../platform/broker/create-broker.ts';
import { deadlineIn } from '../platform/deadline.ts';
import { bodyBytesOf, createHttpServer, listen, pingService, registerHealth, tellProblem } from '../platform/http.ts';
import { startAll } from '../platform/lifecycle.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { readCredential, type Authenticate } from '../platform/credentials.ts';
import { createAdmission } from '../platform/admission.ts';
import { createDocumentStore } from '../platform/document-store.ts';
import { logUnexpectedErrors, maskError, maskWithoutSuggestions } from '../platform/mask-error.ts';
import { measureOperations } from '../platform/graphql-metrics.ts';
import { createMetrics, registerMetrics } from '../platform/metrics.ts';
import { createRateLimits } from '../platform/rate-limit.ts';
import { sendProblem, statusOf, type ProblemInput } from '../platform/problem.ts';
import type { Refusal } from '../platform/refusal.ts';
import { toRequestContext } from '../platform/request-context.ts';
import { registerDocs } from '../platform/rest/docs.ts';
import { registerRoutes } from '../platform/rest/register.ts';
import { operationsOf } from '../platform/rest/route.ts';
import { createServiceClient, ServiceUnavailable, type ServiceClient } from '../platform/service-client.ts';
import type { SignedContext, Viewer } from '../platform/trust.ts';
import { documentOf } from '../rest/document.ts';
import { MAX_SENDS_BYTES } from '../rest/notifications.ts';
import { routesOf, TAGS } from '../rest/table.ts';
import { traceRequests } from '../platform/trace-requests.ts';
import { createTracer } from '../platform/tracing.ts';
import { createAuth } from './auth.ts';
import { disableApolloTelemetry, type GatewayConfig } from './config.ts';
import { registerCors } from './cors.ts';
import { withCircuit } from './federation/circuit.ts';
import { createDataSource, type GatewayContext } from './federation/data-source.ts';
import { createFederationGauges } from './federation/metrics.ts';
import { openSupergraphFile } from './federation/supergraph-file.ts';
import { isGraphiqlRequest, registerGraphiqlFiles, sendGraphiql } from './graphiql/serve.ts';
import { registerLivePage } from './live/serve.ts';
import { isOpenOperation } from './open-operations.ts';
import { MAX_TOKENS } from './limits/check-operation.ts';
import { NO_COSTS, readCosts } from './limits/costs.ts';
import { limitOperations } from './limits/plugin.ts';
import { createTrustedDocuments } from './limits/trusted-documents.ts';
import { rehearse } from './rehearse.ts';
import { createEngine } from './subscriptions/engine.ts';
import { openSubscriptions } from './subscriptions/open.ts';
import { registerUnsubscribe } from './unsubscribe/register.ts';
import { registerWebhooks } from './webhooks/register.ts';

const SUPERGRAPH = new URL('./federation/supergraph.graphql', import.meta.url);

/**
 * Starts the gateway (8000), the only public door: GraphQL, REST and GraphiQL. It starts with every subgraph down.
 * @param overrides.broker shared with others in this process, and theirs to stop
 * @param overrides.drainMs over which subscribers are told to go, 5 s when left out
 * @param overrides.closeGraceMs what requests in flight get when it stops, a second more than a request may take when left out
 */
export const startGateway = (
  config: GatewayConfig,
  overrides: { log?: Logger; broker?: Broker | undefined; closeGraceMs?: number; drainMs?: number } = {},
) =>
  startAll(async (started) => {
    const log = overrides.log ?? createLogger('gateway', config.logLevel);
    const tracer = started.add('the tracer', await createTracer('gateway', config.tracing, log));
    const connect = (name: string, service: { url: string; secret: string }): ServiceClient =>
      started.add(
        `the ${name} client`,
        createServiceClient({ ...service, callee: name, caller: 'gateway', timeoutMs: config.requestTimeoutMs }),
      );
    const clients = {
      user: connect('user', config.services.user),
      template: connect('template', config.services.template),
      notification: connect('notification', config.services.notification),
    };
    const others = Object.entries(config.supergraph.extraSubgraphs).map(
      ([name, service]) => [name, connect(name, service)] as const,
    );
    const services = new Map(
      [...others, ...Object.entries(clients)].map(([name, client]) => [name, withCircuit(name, client, log)]),
    );
    started.onStop('the circuits', async () => services.forEach((service) => service.stop()));
    const subgraphs = { known: [...services.keys()], needed: Object.keys(clients) };
    const routes = routesOf(TAGS);
    const fits = (sdl: string) => rehearse(sdl, routes.flatMap(operationsOf));
    const supergraph = openSupergraphFile(config.supergraph.path ?? SUPERGRAPH, subgraphs, fits, log);

    const limits = started.add(
      'the rate limits',
      createRateLimits({ url: config.redisUrl, prefix: config.cachePrefix, log }),
    );
    const admission = createAdmission(limits, config.rates);

    const names = topologyNames(config.amqpPrefix);
    const broker =
      overrides.broker ??
      started.add(
        'the broker',
        createBroker(config.amqpUrl, { topology: toTopology(names), queueType: config.queueType, log }),
      );

    disableApolloTelemetry();
    const dataSources = Object.fromEntries(
      [...services].map(([name, service]) => [name, createDataSource(name, service, log)]),
    );
    const gateway = new ApolloGateway({
      supergraphSdl: supergraph.hook,
      buildService: ({ name }) => {
        const source = dataSources[name];
        if (source === undefined) throw new Error(`the supergraph names a subgraph that has no address: ${name}`);
        return source;
      },
      experimental_approximateQueryPlanStoreMiB: PLAN_STORE_MIB,
      logger: log.child({ part: 'federation' }, { level: 'warn' }),
    });
    let costs = NO_COSTS;
    const engine = createEngine({
      services: dataSources,
      maxCost: config.maxQueryCost,
      introspection: config.introspection,
      log,
    });
    gateway.onSchemaLoadOrUpdate((schemas) => {
      costs = readCosts(schemas.coreSupergraphSdl);
      engine.load(schemas);
    });
    const metrics = createMetrics('gateway');
    const apollo = new ApolloServer<GatewayContext>({
      gateway,
      formatError: config.introspection ? maskError : maskWithoutSuggestions,
      includeStacktraceInErrorResponses: false,
      // Apollo's own choice hangs on NODE_ENV; GraphiQL needs the schema, and whoever asks has a key.
      introspection: config.introspection,
      parseOptions: { maxTokens: MAX_TOKENS },
      documentStore: createDocumentStore(),
      persistedQueries: config.trustedDocuments.mode === 'enforce' ? false : { ttl: APQ_TTL_S },
      stringifyResult: JSON.stringify,
      stopOnTerminationSignals: false,
      logger: log,
      plugins: [
        ApolloServerPluginUsageReportingDisabled(),
        ApolloServerPluginInlineTraceDisabled(),
        ApolloServerPluginLandingPageDisabled(),
        tellRequestId,
        measureOperations(metrics),
        logUnexpectedErrors(log),
        limitOperations(admission, () => costs, config.maxQueryCost),
      ],
    });
    await apollo.start();
    started.onStop('the GraphQL server', () => apollo.stop());

    /** One for a request, with all that it fetches. */
    const withDeadline = (context: SignedContext): GatewayContext => ({
      ...context,
      deadline: deadlineIn(config.requestTimeoutMs),
    });
    const app = createHttpServer(log, {
      closeGraceMs: overrides.closeGraceMs ?? config.requestTimeoutMs + 1_000,
      trustedProxies: config.trustedProxies,
    });
    traceRequests(app, tracer);
    // Before everything: a browser's preflight has no credential.
    await registerCors(app, config.corsOrigins);
    const authenticate = createAuth(config, clients.user);
    const intake = registerIntake(app, authenticate);
    registerHealth(
      app,
      {
        required: Object.fromEntries(
          Object.entries(config.services).map(([name, { url }]) => [name, () => pingService(url)]),
        ),
        optional: {
          broker: async () => {
            if (broker.state !== 'up')
              throw new Error(`the broker is ${broker.state}; live status is asked for, and late`);
          },
          cache: () => limits.ping(),
        },
      },
      () => ({ supergraph: supergraph.state() }),
    );
    createFederationGauges(metrics, services, supergraph);
    registerMetrics(app, metrics);
    registerGraphiqlFiles(app);
    await registerLivePage(app);

    const trusted = await createTrustedDocuments(config.trustedDocuments, log);
    const viewers = new WeakMap<FastifyRequest, Viewer>();
    app.route({
      method: ['GET', 'POST'],
      url: '/graphql',
      bodyLimit: MAX_SENDS_BYTES,
      // Before the body: nobody without a key makes us read one.
      onRequest: async (request, reply) => {
        if (isGraphiqlRequest(request)) return sendGraphiql(reply);
        const viewer = await authenticate(request.headers);
        const refused = await admission.admit(viewer, request, reply);
        if (refused !== null) return refuseRequest(reply, refused);
        if (viewer !== null) viewers.set(request, viewer);
        else if (readCredential(request.headers) !== null || !mayBeLogIn(request)) return refuseAnonymous(reply);
        return undefined;
      },
      preHandler: async (request, reply) => {
        const untrusted = trusted.admit(request);
        if (untrusted !== null) return refuseRequest(reply, untrusted);
        if (viewers.has(request)) return undefined;
        if (!isOpenOperation(request.body)) return refuseAnonymous(reply);
        viewers.set(request, ANONYMOUS);
        return undefined;
      },
      // Who shows no credential learns nothing of what is wrong with the body.
      errorHandler: (error, request, reply) => {
        if (viewers.has(request) || error instanceof ServiceUnavailable)
          void refuseAs(reply, tellProblem(error, request));
        else void refuseAnonymous(reply);
      },
      onSend: async (request, reply, payload) => addRequestId(payload, request, reply),
      handler: fastifyApolloHandler(apollo, {
        context: async (request) => ({
          ...withDeadline(toRequestContext(request, viewers.get(request) as Viewer)),
          bodyBytes: bodyBytesOf(request),
        }),
      }),
    });
    await registerWebhooks(app, config.webhookKeys, clients.notification);
    await registerUnsubscribe(app, clients.notification);
    registerDocs(app, documentOf(TAGS));
    registerRoutes(app, routes, {
      authenticate,
      admission,
      execute: async (query, variables, context) => {
        const { body } = await apollo.executeOperation({ query, variables }, { contextValue: withDeadline(context) });
        if (body.kind !== 'single') throw new Error('an incremental answer, which no operation of ours asks for');
        return { data: body.singleResult.data, errors: body.singleResult.errors ?? [] };
      },
    });

    const subscriptions = started.add(
      'the subscriptions',
      await openSubscriptions(app, config, {
        broker,
        names,
        notification: services.get('notification') ?? clients.notification,
        engine,
        authenticate,
        admission,
        trusted,
        metrics,
        tracer,
        log,
      }),
    );
    started.onStop('the server', () => app.close());
    // Requests are still answered: a proxy takes a moment to learn that no more should be sent here.
    started.onStop('the subscribers', () => {
      intake.leave();
      return subscriptions.drain(overrides.drainMs ?? DRAIN_MS);
    });
    const port = await listen(app, config.host, config.port);
    log.info({ port }, 'the gateway is up');
    return { port, refuseNew: intake.refuseNew };
  });

type Intake = {
  /** Whoever looks whether this gateway is healthy is told to send to another. */
  leave(): void;
  /** From then on everybody is refused but the workers, which have outcomes to report. */
  refuseNew(): void;
};

/** Must be registered before the routes. */
function registerIntake(app: FastifyInstance, authenticate: Authenticate): Intake {
  let state: 'open' | 'leaving' | 'closed' = 'open';
  app.addHook('onRequest', async (request, reply) => {
    if (state === 'open') return undefined;
    const isProbe = request.routeOptions.url === '/health' || request.routeOptions.url === '/ready';
    if (state === 'leaving' && !isProbe) return undefined;
    if ((await authenticate(request.headers))?.kind === 'worker') return undefined;
    void reply.header('connection', 'close').header('retry-after', STOPPING.retryAfterSeconds);
    if (request.routeOptions.url !== '/graphql') return sendProblem(reply, STOPPING);
    return refuseAs(reply, STOPPING);
  });
  return {
    leave() {
      if (state === 'open') state = 'leaving';
    },
    refuseNew() {
      state = 'closed';
    },
  };
}

const STOPPING = {
  code: 'UNAVAILABLE',
  detail: 'Herald is stopping and takes nothing new: repeat the request in a moment',
  retryAfterSeconds: 5,
};

/**
 * Every error says which request to look for in the log; `formatError` can't, it does not know the request. What the gateway says
 * of nulls that a subgraph should not have given is for the log, not for the caller.
 */
const tellRequestId: ApolloServerPlugin<GatewayContext> = {
  requestDidStart: async () => ({
    willSendResponse: async ({ contextValue: { requestId }, response: { body }, logger }) => {
      if (body.kind !== 'single') return;
      const { errors, extensions: { valueCompletion, ...extensions } = {} } = body.singleResult;
      body.singleResult.errors = errors?.map((error) => ({ ...error, extensions: { ...error.extensions, requestId } }));
      body.singleResult.extensions = Object.keys(extensions).length > 0 ? extensions : undefined;
      if (valueCompletion !== undefined) logger.warn(`request ${requestId}: ${JSON.stringify(valueCompletion)}`);
    },
  }),
};

/** The same for what Apollo refuses before it counts as a request, such as a body that is `null`. */
function addRequestId(payload: unknown, request: FastifyRequest, reply: FastifyReply): unknown {
  const isJson = /^application\/(graphql-response\+)?json/.test(String(reply.getHeader('content-type')));
  if (reply.statusCode < 400 || !isJson || typeof payload !== 'string') return payload;
  const { errors = [], ...rest } = JSON.parse(payload) as { errors?: { extensions?: object }[] };
  const told = errors.map((error) => ({ ...error, extensions: { ...error.extensions, requestId: request.id } }));
  return JSON.stringify({ errors: told, ...rest });
}

const DRAIN_MS = 5_000;

/** Measured by their JSON; they take several times that. */
const PLAN_STORE_MIB = 4;
/** How long a document is kept by its hash (automatic persisted queries). */
const APQ_TTL_S = 15 * 60;

/** Small enough to be a log-in, by its own account: a larger body of nobody's is not read. */
const mayBeLogIn = ({ method, headers }: FastifyRequest) =>
  method === 'POST' && Number(headers['content-length'] ?? Infinity) <= MAX_LOG_IN_BYTES;

const MAX_LOG_IN_BYTES = 8 * 1024;

const refuseAnonymous = (reply: FastifyReply) =>
  sendGraphqlError(reply.code(401).header('www-authenticate', 'Bearer'), {
    message: 'send a valid key: "authorization: Bearer <key>" or "x-api-key: <key>"',
    code: 'UNAUTHENTICATED',
  });

const refuseRequest = (reply: FastifyReply, { code, message, retryAfterSeconds }: Refusal) =>
  refuseAs(reply, { code, detail: message, retryAfterSeconds });

const refuseAs = (reply: FastifyReply, { code, detail, retryAfterSeconds }: ProblemInput) => {
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
  return sendGraphqlError(reply.code(statusOf(code)), { message: detail, code, retryAfterSeconds });
};

/** GraphQL's error shape, because a GraphQL client reads it. */
const sendGraphqlError = (
  reply: FastifyReply,
  { message, ...extensions }: { message: string; code: string; retryAfterSeconds?: number },
) => reply.send({ errors: [{ message, extensions: { ...extensions, requestId: reply.request.id } }] });
