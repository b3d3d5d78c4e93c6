import type { FastifyInstance } from 'fastify';
import { Gauge, Registry } from 'prom-client';

export type Metrics = Registry;

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
  return registry;
}

/** Serves `GET /metrics` in Prometheus' text format. */
export function registerMetrics(app: FastifyInstance, metrics: Metrics): void {
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.metrics()));
}
