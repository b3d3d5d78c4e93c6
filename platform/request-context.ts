import type { FastifyRequest } from 'fastify';
import { readTrace, traceIdOf, type Trace } from './trace.ts';
import type { SignedContext, Viewer } from './trust.ts';

/** What a request from outside carries inward, once it is known who asks. */
export const toRequestContext = (request: FastifyRequest, viewer: Viewer): SignedContext => ({
  viewer,
  requestId: request.id,
  address: request.ip,
  trace: traceOf(request),
});

/** What finds a request's lines in the logs of every process. */
export const toLogIds = ({ requestId, trace }: Pick<SignedContext, 'requestId' | 'trace'>) => ({
  requestId,
  ...(trace && { traceId: traceIdOf(trace) }),
});

/** The same for a request as it came. */
export const logIdsOf = (request: FastifyRequest) => toLogIds({ requestId: request.id, trace: traceOf(request) });

/** The request's own step takes the place of what it came with. */
export const setTrace = (request: FastifyRequest, trace: Trace): void => void traces.set(request, trace);

const traces = new WeakMap<FastifyRequest, Trace>();

/** One for a request: whoever asks again must not get another new one. */
function traceOf(request: FastifyRequest): Trace {
  const trace = traces.get(request) ?? readTrace(request.headers);
  traces.set(request, trace);
  return trace;
}
