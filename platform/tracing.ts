import { z } from 'zod';
import { withDeadline } from './lifecycle.ts';
import { toReason } from './log-on-change.ts';
import type { Logger } from './logger.ts';
import { traceparentOf, type Trace } from './trace.ts';

/** One step of a trace, while it is under way. */
export type Span = {
  /** What the steps inside it give as their parent. */
  trace: Trace | undefined;
  set(attributes: Record<string, string | number | boolean>): void;
  /** @param fault what went wrong, in our words (a provider's may name an address); nothing did when left out */
  end(fault?: string): void;
};

/** By OpenTelemetry: a server answers, a client asks, a producer hands over to a queue, a consumer takes from it. */
export type SpanKind = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

export type Tracer = {
  /** Whether anybody looks: what costs something only for a trace need not be done. */
  isOn: boolean;
  /** @param parent undefined: a trace of its own begins */
  start(
    name: string,
    options: { kind?: SpanKind; parent: Trace | undefined; attributes?: Record<string, string | number | boolean> },
  ): Span;
  /** Sends what is left, if the collector takes it soon; that it does not is no fault of ours. */
  stop(): Promise<void>;
};

/** OpenTelemetry's own variables. */
export const tracingVariables = {
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be a URL such as http://collector:4318' })
    .optional(),
  OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1, 'must be a share from 0 to 1').default(1),
};

export const toTracing = (vars: z.infer<z.ZodObject<typeof tracingVariables>>): TracingConfig => ({
  endpoint: vars.OTEL_EXPORTER_OTLP_ENDPOINT ?? null,
  share: vars.OTEL_TRACES_SAMPLER_ARG,
});

/** @param endpoint of a collector that takes OTLP over HTTP; null: no tracing. @param share of the traces that begin here, 0 to 1 */
export type TracingConfig = { endpoint: string | null; share: number };

export const NO_TRACING: TracingConfig = { endpoint: null, share: 1 };

/** Passes traces on as they are, and makes nothing of them. */
export const noTracer: Tracer = {
  isOn: false,
  start: (_, { parent }) => ({ trace: parent, set() {}, end() {} }),
  stop: async () => {},
};

/**
 * Creates a process's tracer. OpenTelemetry is loaded only when there is a collector; in the version that @apollo/gateway brings anyway, for
 * another one beside it weighs 90 MB.
 */
export async function createTracer(service: string, { endpoint, share }: TracingConfig, log: Logger): Promise<Tracer> {
  if (endpoint === null) return noTracer;
  const [api, sdk, { OTLPTraceExporter }, { Resource }] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace-base'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ]);
  const kinds: Record<SpanKind, number> = {
    internal: api.SpanKind.INTERNAL,
    server: api.SpanKind.SERVER,
    client: api.SpanKind.CLIENT,
    producer: api.SpanKind.PRODUCER,
    consumer: api.SpanKind.CONSUMER,
  };
  const exporter = new OTLPTraceExporter({
    url: `${endpoint.replace(/\/+$/, '')}/v1/traces`,
    // Kept connections would outlive us.
    keepAlive: false,
  });
  const provider = new sdk.BasicTracerProvider({
    resource: new Resource({ 'service.name': service, 'service.namespace': 'herald' }),
    // Whoever began a trace has decided whether it is kept.
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(share) }),
    spanProcessors: [new sdk.BatchSpanProcessor(exporter, { scheduledDelayMillis: EXPORT_EVERY_MS })],
  });
  const tracer = provider.getTracer('herald');
  return {
    isOn: true,
    start(name, { kind = 'internal', parent, attributes = {} }) {
      const above =
        parent === undefined ? api.ROOT_CONTEXT : api.trace.setSpanContext(api.ROOT_CONTEXT, toContext(parent));
      const span = tracer.startSpan(name, { kind: kinds[kind], attributes }, above);
      const { traceId, spanId, traceFlags } = span.spanContext();
      return {
        trace: { ...parent, traceparent: traceparentOf(traceId, spanId, traceFlags) },
        set: (more) => void span.setAttributes(more),
        end(fault) {
          if (fault !== undefined) span.setStatus({ code: api.SpanStatusCode.ERROR, message: fault });
          span.end();
        },
      };
    },
    stop: () =>
      withDeadline(provider.shutdown(), STOP_MS, 'it gave no answer').catch((error: unknown) =>
        log.warn({ reason: toReason(error) }, 'the collector did not take the last spans'),
      ),
  };
}

const EXPORT_EVERY_MS = 1_000;
const STOP_MS = 2_000;

function toContext({ traceparent }: Trace) {
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}
