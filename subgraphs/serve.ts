import { ApolloServer, type GraphQLRequest } from '@apollo/server';
import {
  ApolloServerPluginInlineTraceDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled';
import { buildSubgraphSchema, type GraphQLResolverMap } from '@apollo/subgraph';
import { fastifyApolloHandler } from '@as-integrations/fastify';
import type { FastifyRequest } from 'fastify';
import { readFile } from 'node:fs/promises';
import { parse, validate, type GraphQLSchema } from 'graphql';
import type { Admission } from '../platform/admission.ts';
import type { Authenticate } from '../platform/credentials.ts';
import { deadlineIn, type Deadline } from '../platform/deadline.ts';
import { enforceScopes } from '../platform/enforce-scopes.ts';
import { createDocumentStore } from '../platform/document-store.ts';
import { auditMutations } from '../platform/audit.ts';
import type { Pool } from '../platform/postgres.ts';
import { createHttpServer, registerHealth, listen, type Checks } from '../platform/http.ts';
import type { Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import { measureOperations } from '../platform/graphql-metrics.ts';
import { createMetrics, registerMetrics, type Metrics } from '../platform/metrics.ts';
import { logUnexpectedErrors, maskError } from '../platform/mask-error.ts';
import { refuse, toGraphQLError } from '../platform/refusal.ts';
import { registerDocs } from '../platform/rest/docs.ts';
import { registerRoutes } from '../platform/rest/register.ts';
import { operationsOf } from '../platform/rest/route.ts';
import { documentOf } from '../rest/document.ts';
import { routesOf, type Tag } from '../rest/table.ts';
import { sendProblem } from '../platform/problem.ts';
import { traceRequests } from '../platform/trace-requests.ts';
import { noTracer, type Span, type Tracer } from '../platform/tracing.ts';
import { createVerifier, type SignedContext } from '../platform/trust.ts';

/** What every resolver gets: who asks, the request's id, and until when its answer is waited for. */
export type SubgraphContext = SignedContext & { deadline?: Deadline };

export type SubgraphOptions = {
  /** The folder name, and the service's name in logs: user, template, notification. */
  name: 'user' | 'template' | 'notification';
  host: string;
  port: number;
  /** The secret that callers sign with. */
  secret: string;
  /** The generated `Resolvers` of this subgraph's schema. */
  resolvers: object;
  /** Whose X-Forwarded-For is believed; nobody's when left out. */
  trustedProxies?: string[];
  /** Where its audit trail lies. */
  pool: Pool;
  log: Logger;
  tracer?: Tracer;
  /** With counters of its own; what every process has when left out. */
  metrics?: Metrics;
  /** Of what it needs, and of what it can do without for a while. */
  checks: { required: Checks; optional?: Checks };
  /** Which REST paths it serves, and who may ask. */
  rest?: { tags: readonly Tag[]; authenticate: Authenticate; admission: Admission };
};

/**
 * Serves one subgraph: signed GraphQL at /graphql, /health and /ready, and REST paths for whoever holds a key.
 * @returns its port, and `stop`
 */
export async function serveSubgraph(options: SubgraphOptions): Promise<Running & { port: number }> {
  const { log } = options;
  const sdl = await readFile(new URL(`./${options.name}/schema.graphql`, import.meta.url), 'utf8');
  const resolvers = options.resolvers as GraphQLResolverMap;
  // Whoever lacks the scope acts on nothing, so that is not written down.
  const schema = enforceScopes(
    auditMutations(buildSubgraphSchema([{ typeDefs: parse(sdl), resolvers }]), options.pool),
  );
  const metrics = options.metrics ?? createMetrics(options.name);
  const apollo = new ApolloServer<SubgraphContext>({
    schema,
    formatError: maskError,
    documentStore: createDocumentStore(),
    includeStacktraceInErrorResponses: false,
    // Only signed requests arrive, and those no browser can send.
    csrfPrevention: false,
    introspection: true,
    stringifyResult: JSON.stringify,
    stopOnTerminationSignals: false,
    logger: log,
    plugins: [
      ApolloServerPluginInlineTraceDisabled(),
      ApolloServerPluginLandingPageDisabled(),
      logUnexpectedErrors(log),
      measureOperations(metrics),
    ],
  });
  await apollo.start();

  const app = createHttpServer(log, { trustedProxies: options.trustedProxies ?? [] });
  const tracer = options.tracer ?? noTracer;
  // What other processes of ours ask is a step of their trace, once it is known to be theirs.
  traceRequests(app, tracer, ({ routeOptions }) => routeOptions.url === '/graphql');
  registerHealth(app, options.checks);
  registerMetrics(app, metrics);

  await app.register(async (signed) => {
    const verify = createVerifier(options.name, options.secret);
    const contexts = new WeakMap<FastifyRequest, SubgraphContext>();
    const spans = new WeakMap<FastifyRequest, Span>();
    signed.addHook('onResponse', async (request) => spans.get(request)?.end());
    // The signature is over the body as it came.
    signed.removeContentTypeParser('application/json');
    signed.addContentTypeParser(
      'application/json',
      { parseAs: 'buffer' },
      async (request: FastifyRequest, body: Buffer) => {
        const context = verify({ method: request.method, path: request.url, body }, request.headers);
        if (typeof context === 'string') throw new Untrusted(context);
        const { timeoutMs } = context;
        const span = tracer.start(`${options.name} POST /graphql`, { kind: 'server', parent: context.trace });
        spans.set(request, span);
        const trace = span.trace && { trace: span.trace };
        contexts.set(request, {
          ...context,
          ...trace,
          ...(timeoutMs !== undefined && { deadline: deadlineIn(timeoutMs) }),
        });
        return JSON.parse(body.toString('utf8')) as unknown;
      },
    );
    signed.setErrorHandler((error, request, reply) => {
      if (!(error instanceof Untrusted)) throw error;
      request.log.warn({ from: request.ip, why: error.message }, 'refused a request that is not from one of ours');
      return sendProblem(reply, { code: 'UNAUTHENTICATED', detail: error.message });
    });
    // A request without a body has passed no parser.
    signed.addHook('preHandler', async (request) => {
      if (!contexts.has(request)) throw new Untrusted('the request is not signed');
    });
    signed.post(
      '/graphql',
      { bodyLimit: SIGNED_BODY_LIMIT_BYTES },
      fastifyApolloHandler(apollo, {
        context: async (request) => {
          const context = contexts.get(request);
          if (context === undefined) throw toGraphQLError(refuse('UNAUTHENTICATED', 'the request is not signed'));
          return context;
        },
      }),
    );
  });

  if (options.rest !== undefined) {
    const routes = routesOf(options.rest.tags);
    requireFit(schema, routes.flatMap(operationsOf));
    registerDocs(app, documentOf(options.rest.tags));
    registerRoutes(app, routes, {
      authenticate: options.rest.authenticate,
      admission: options.rest.admission,
      execute: async (query, variables, contextValue) => {
        const { body } = await apollo.executeOperation({ query, variables } as GraphQLRequest, { contextValue });
        if (body.kind !== 'single') throw new Error('an incremental answer, which no operation of ours asks for');
        return { data: body.singleResult.data, errors: body.singleResult.errors ?? [] };
      },
    });
  }

  const port = await listen(app, options.host, options.port);
  return {
    port,
    async stop() {
      await app.close();
      await apollo.stop();
    },
  };
}

/** The operations of the REST paths are known at the start: one that does not fit is a fault of ours, and not for a caller to meet. */
function requireFit(schema: GraphQLSchema, operations: readonly string[]): void {
  for (const operation of operations) {
    const [fault] = validate(schema, parse(operation));
    if (fault !== undefined)
      throw new Error(`an operation of the REST paths does not fit the schema: ${fault.message}`);
  }
}

/** Bulk sends come with up to 1,000 items. */
const SIGNED_BODY_LIMIT_BYTES = 4 * 1024 * 1024;

class Untrusted extends Error {
  override name = 'Untrusted';
}
