import type { FastifyInstance } from 'fastify';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Gauge, Histogram, Registry } from 'prom-client';

export type Metrics = Registry;

/** Seconds, from what is fast for one hop to what a caller no longer waits for. */
export const DURATION_BUCKETS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/**
 * Creates one service's metrics; every sample carries its name. Several live side by side in the embedded process, so they share no
 * registry, and have none of prom-client's default metrics, which watch the process over and over.
 */
export function createMetrics(service: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When the process started, in seconds since 1970',
    registers: [registry],
  }).set(performance.timeOrigin / 1_000);
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Memory that the process holds',
    registers: [registry],
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: 'herald_event_loop_lag_seconds',
    help: 'How late the event loop was since the metrics were last read: half of the time, 1 % of it, and at most',
    labelNames: ['quantile'],
    registers: [registry],
    collect() {
      for (const [quantile, seconds] of Object.entries(readLag())) this.set({ quantile }, seconds);
    },
  });
  return registry;
}

const LOOK_EVERY_MS = 20;
/** The services of one process are read one right after the other. */
const READ_TOGETHER_MS = 250;

/** One for a process, however many services it holds: each looks fifty times a second. */
let delay: ReturnType<typeof monitorEventLoopDelay> | undefined;
let lag: Record<string, number> = {};
let readAt = -Infinity;

/** Seconds, by quantile. */
function readLag(): Record<string, number> {
  if (delay === undefined) {
    delay = monitorEventLoopDelay({ resolution: LOOK_EVERY_MS });
    delay.enable();
  }
  if (performance.now() - readAt < READ_TOGETHER_MS) return lag;
  // It measures from one look to the next.
  const toLag = (nanoseconds: number) => (delay?.count ? Math.max(0, nanoseconds / 1e9 - LOOK_EVERY_MS / 1_000) : 0);
  lag = { '0.5': toLag(delay.percentile(50)), '0.99': toLag(delay.percentile(99)), '1': toLag(delay.max) };
  readAt = performance.now();
  delay.reset();
  return lag;
}

/** Serves `GET /metrics` in Prometheus' text format, and measures the requests to the server, by the path of their route. */
export function registerMetrics(app: FastifyInstance, metrics: Metrics): void {
  const durations = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'How long requests took until the last byte of their answer, streams of events left out; none: no route has that path',
    labelNames: ['method', 'route', 'status'],
    buckets: DURATION_BUCKETS,
    registers: [metrics],
  });
  app.addHook('onResponse', async ({ method, routeOptions: { url } }, { raw, statusCode, elapsedTime }) => {
    // A stream lasts as long as somebody listens: that is not slow.
    if (String(raw.getHeader('content-type')).startsWith('text/event-stream')) return;
    durations.observe({ method, route: url ?? 'none', status: statusCode }, elapsedTime / 1_000);
  });
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.metrics()));
}
