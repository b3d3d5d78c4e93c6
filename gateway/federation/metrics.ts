import { Gauge } from 'prom-client';
import type { Metrics } from '../../platform/metrics.ts';
import type { CircuitState, GuardedService } from './circuit.ts';
import type { SupergraphFile } from './supergraph-file.ts';

/** What federation says of itself when the metrics are read. */
export function createFederationGauges(
  metrics: Metrics,
  services: ReadonlyMap<string, GuardedService>,
  supergraph: SupergraphFile,
): void {
  new Gauge({
    name: 'herald_subgraph_circuit_open',
    help: 'Whether a subgraph is given a rest: 1, or 0.5 while it is tried with one request',
    labelNames: ['subgraph'],
    registers: [metrics],
    collect() {
      for (const [subgraph, service] of services) this.set({ subgraph }, OPENNESS[service.state()]);
    },
  });
  new Gauge({
    name: 'herald_supergraph_refused',
    help: 'Whether the supergraph file is bad, so that the one before is still served',
    registers: [metrics],
    collect() {
      this.set(supergraph.state().refused === null ? 0 : 1);
    },
  });
}

const OPENNESS = { closed: 0, half_open: 0.5, open: 1 } satisfies Record<CircuitState, number>;
