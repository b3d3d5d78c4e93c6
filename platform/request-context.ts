import type { FastifyRequest } from 'fastify';
import { readTrace, traceIdOf, type Trace } from './trace.ts';
import type { SignedContext, Viewer } from './trust.ts';

/** What a request from outside carries inward, once it is known who asks. */
export const toRequestContext = (request: FastifyRequest, viewer: Viewer): SignedContext => ({
  viewer,
  requestId: request.id,
  correlationId: correlationIdOf(request),
  address: request.ip,
  trace: traceOf(request),
});

/** What finds a request's lines in the logs of every process. */
export const toLogIds = ({
  requestId,
  correlationId = requestId,
  trace,
}: Pick<SignedContext, 'requestId' | 'correlationId' | 'trace'>) => ({
  requestId,
  ...(correlationId !== requestId && { correlationId }),
  ...(trace && { traceId: traceIdOf(trace) }),
});

/** The same for a request as it came. */
export const logIdsOf = (request: FastifyRequest) =>
  toLogIds({ requestId: request.id, correlationId: correlationIdOf(request), trace: traceOf(request) });

/** As the caller gave it (`X-Correlation-Id`), else the request's own. */
export const correlationIdOf = ({ id, headers }: FastifyRequest) => readId(headers['x-correlation-id']) ?? id;

/** An id as a header gives it, or null when it is none. */
export const readId = (given: string | string[] | undefined): string | null =>
  typeof given === 'string' && ID.test(given) ? given : null;

const ID = /^[\w.:/+=@-]{1,128}$/;

/** The request's own step takes the place of what it came with. */
export const setTrace = (request: FastifyRequest, trace: Trace): void => void traces.set(request, trace);

const traces = new WeakMap<FastifyRequest, Trace>();

/** One for a request: whoever asks again must not get another new one. */
function traceOf(request: FastifyRequest): Trace {
  const trace = traces.get(request) ?? readTrace(request.headers);
  traces.set(request, trace);
  return trace;
}
