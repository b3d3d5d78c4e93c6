import { randomUUID } from 'node:crypto';
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyRequest,
} from 'fastify';
import { registerClose } from './http-close.ts';
import { createMalformedAnswer } from './http-malformed.ts';
import type { Logger } from './logger.ts';
import { parseJson } from './parse-json.ts';
import { isRefusal, type Refusal } from './refusal.ts';
import { correlationIdOf, logIdsOf, readId } from './request-context.ts';
import { ServiceUnavailable } from './service-client.ts';
import { sendProblem, type ProblemInput } from './problem.ts';

/** Longer than any client of ours keeps an idle connection, so that we are never the one to close it under a request. */
const KEEP_ALIVE_MS = 65_000;
const BODY_LIMIT_BYTES = 100 * 1024;
/** A little more than a handler takes that waits for another service. */
const CLOSE_GRACE_MS = 2_500;

/**
 * Creates an HTTP server with Herald's manners: a request id taken from or added to every request, problem details for
 * every error, JSON only, paths with and without the trailing slash.
 * @param options.bodyLimit bytes
 * @param options.trustedProxies whose word on the client's address is believed (`X-Forwarded-For`); nobody's when left out
 * @param options.closeGraceMs what requests in flight get when the server closes, 2.5 s when left out
 */
export function createHttpServer(
  log: Logger,
  options: { bodyLimit?: number; closeGraceMs?: number; trustedProxies?: string[] } = {},
): FastifyInstance {
  // Typed as Fastify's, so that the server is a plain FastifyInstance.
  const loggerInstance: FastifyBaseLogger = log;
  const app = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.bodyLimit ?? BODY_LIMIT_BYTES,
    keepAliveTimeout: KEEP_ALIVE_MS,
    trustProxy: options.trustedProxies?.length ? options.trustedProxies : false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 512 },
    genReqId: ({ headers }) => readId(headers['x-request-id']) ?? readId(headers['x-correlation-id']) ?? randomUUID(),
    clientErrorHandler: createMalformedAnswer(log, SAFE_HEADERS),
    // A path that can't be decoded reaches no hook and no error handler.
    frameworkErrors: (error, request, reply) => {
      void reply.header('x-request-id', request.id).headers(SAFE_HEADERS);
      void sendProblem(reply, toProblem(error));
    },
  });
  app.removeContentTypeParser(['text/plain', 'application/json']);
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    sizes.set(request, body.length);
    const parsed = parseJson(request.headers, body);
    if (isRefusal(parsed)) throw new RefusedBody(parsed);
    return parsed.json;
  });
  app.addHook('onRequest', async (request, reply) => {
    const ids = { 'x-request-id': request.id, 'x-correlation-id': correlationIdOf(request) };
    void reply.headers({ ...SAFE_HEADERS, ...ids });
  });
  registerClose(app, options.closeGraceMs ?? CLOSE_GRACE_MS);
  app.setNotFoundHandler((request, reply) =>
    sendProblem(reply, { code: 'NOT_FOUND', detail: `there is no ${request.method} ${pathOf(request.url)}` }),
  );
  app.setErrorHandler((error: FastifyError, request, reply) => sendProblem(reply, tellProblem(error, request)));
  return app;
}

const sizes = new WeakMap<FastifyRequest, number>();

/** How long a request's JSON was as it came; 0 without any. */
export const bodyBytesOf = (request: FastifyRequest): number => sizes.get(request) ?? 0;

/** On every answer; a page says for itself what it may load, and what may be kept. */
const SAFE_HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** Listens; a taken port is an error that says which and what to do. @returns the port (useful with port 0) */
export async function listen(app: FastifyInstance, host: string, port: number, variable = 'PORT'): Promise<number> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
      throw new Error(
        `port ${port} on ${host} is taken: stop the program that listens there, or set ${variable} to a free port`,
        { cause: error },
      );
    }
    throw error;
  }
  const address = app.server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

/** Name → a call that rejects while that dependency is away. */
export type Checks = Record<string, () => Promise<unknown>>;

/**
 * `GET /health`: the process lives. `GET /ready`: each dependency with its state and latency; 503 while one is down that is required.
 * @param checks `optional`: told, and no reason to send nobody here, for the process does without
 * @param details what `/health` says besides that the process lives
 */
export function registerHealth(
  app: FastifyInstance,
  checks: { required?: Checks; optional?: Checks } = {},
  details: () => object = () => ({}),
): void {
  const all = [
    ...Object.entries(checks.required ?? {}).map((entry) => [...entry, true] as const),
    ...Object.entries(checks.optional ?? {}).map((entry) => [...entry, false] as const),
  ];
  app.get('/health', () => ({ status: 'ok', ...details() }));
  app.get('/ready', async (_request, reply) => {
    const results = await Promise.all(
      all.map(async ([name, check, required]) => [name, { ...(await runCheck(check)), required }] as const),
    );
    const down = results.map(([, result]) => result).filter(({ state }) => state === 'down');
    return reply
      .code(down.some(({ required }) => required) ? 503 : 200)
      .send({ status: down.length === 0 ? 'ok' : 'degraded', checks: Object.fromEntries(results) });
  });
}

async function runCheck(check: () => Promise<unknown>) {
  const since = performance.now();
  const error = await check().then(
    () => null,
    (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)),
  );
  return {
    state: error === null ? 'up' : 'down',
    latency_ms: Math.round(performance.now() - since),
    ...(error !== null && { error }),
  };
}

/** A check of another process of ours: whether it lives. Not whether it is ready, for that one may be asking us the same. */
export async function pingService(url: string): Promise<void> {
  const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(PING_TIMEOUT_MS) });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`it answered ${response.status}`);
}

const PING_TIMEOUT_MS = 1_000;

/** What a caller is told when another process of ours is needed to answer and can't be asked. */
export const SERVICE_AWAY = {
  code: 'UNAVAILABLE',
  detail: 'a service that this needs is away; nothing was done, repeat the request in a moment',
  retryAfterSeconds: 2,
};

/** A body that is not as it should be, on its way from the parser to the answer. */
class RefusedBody extends Error {
  override name = 'RefusedBody';
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

const pathOf = (url: string) => url.split('?', 1)[0] ?? url;

/** What the caller is told of an error; one that nobody expected is logged whole. */
export function tellProblem(error: FastifyError, request: FastifyRequest): ProblemInput {
  const problem = toProblem(error);
  if (problem.code === 'INTERNAL') request.log.error({ err: error, ...logIdsOf(request) }, 'request failed');
  return problem;
}

function toProblem(error: FastifyError): ProblemInput {
  if (error instanceof ServiceUnavailable) return SERVICE_AWAY;
  if (error instanceof RefusedBody)
    return { code: error.refusal.code, detail: error.message, faults: error.refusal.faults };
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return { code: 'UNSUPPORTED_MEDIA_TYPE', detail: 'send JSON with the header content-type: application/json' };
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return { code: 'PAYLOAD_TOO_LARGE', detail: 'the body is larger than this path takes' };
    default:
      if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
        return { code: 'BAD_USER_INPUT', detail: error.message };
      }
      return { code: 'INTERNAL', detail: 'something went wrong here; the request id finds it in the log' };
  }
}
