import type { FastifyInstance, FastifyRequest } from 'fastify';
import { setTrace } from './request-context.ts';
import { readGivenTrace } from './trace.ts';
import type { Span, Tracer } from './tracing.ts';

/** What is asked all the time, by machines. */
const UNTRACED = ['/health', '/ready', '/metrics'];

/**
 * Makes a step of every request to a server, within the trace that it brings.
 * @param isSkipped those whose trace is only known later
 */
export function traceRequests(
  app: FastifyInstance,
  tracer: Tracer,
  isSkipped: (request: FastifyRequest) => boolean = () => false,
): void {
  if (!tracer.isOn) return;
  const spans = new WeakMap<FastifyRequest, Span>();
  app.addHook('onRequest', async (request) => {
    const { url: route = 'none' } = request.routeOptions;
    if (UNTRACED.includes(route) || isSkipped(request)) return;
    const span = tracer.start(`${request.method} ${route}`, {
      kind: 'server',
      parent: readGivenTrace(request.headers),
      attributes: { 'http.request.method': request.method, 'http.route': route, 'herald.request_id': request.id },
    });
    spans.set(request, span);
    if (span.trace !== undefined) setTrace(request, span.trace);
  });
  app.addHook('onResponse', async (request, { statusCode }) => {
    const span = spans.get(request);
    span?.set({ 'http.response.status_code': statusCode });
    span?.end(statusCode >= 500 ? `answered ${statusCode}` : undefined);
  });
}
