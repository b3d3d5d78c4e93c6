import type { FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';

export type Metrics = Registry;

/** Creates one process's metrics; every sample carries the service's name. */
export function createMetrics(service: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  return registry;
}

/** Serves `GET /metrics` in Prometheus' text format. */
export function registerMetrics(app: FastifyInstance, metrics: Metrics): void {
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.metrics()));
}
