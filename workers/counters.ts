import { Counter, Gauge, Histogram } from 'prom-client';
import type { NotificationType } from '../contracts/jobs.ts';
import { STAGE_BUCKETS } from '../contracts/stages.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { CircuitState } from './breaker.ts';
import type { Providers } from './providers.ts';

/** What an operator wants to see of a worker. */
export function createCounters(metrics: Metrics, type: NotificationType, providers: Providers) {
  const STATES: CircuitState[] = ['closed', 'half_open', 'open', 'paused'];
  new Gauge({
    name: 'herald_circuit_state',
    help: '1 for the state that the circuit of a provider is in',
    labelNames: ['provider', 'state'],
    registers: [metrics],
    collect() {
      for (const provider of providers.chain)
        for (const state of STATES)
          this.set({ provider: provider.name, state }, provider.state().state === state ? 1 : 0);
    },
  });
  const poison = new Counter({
    name: 'herald_poison_total',
    help: 'Messages that went to the failed queue: not_a_job, or unknown_id (no notification of this type has it)',
    labelNames: ['type', 'reason'],
    registers: [metrics],
  });
  // Of a series that appears with 3, Prometheus sees no increase.
  for (const reason of POISON) poison.inc({ type, reason }, 0);
  return {
    handled: new Counter({
      name: 'herald_handled_total',
      help: 'Claimed notifications by the last provider (none: it came to no hand-over) and what became of them: an outcome class, lost (the lease went to another worker), or unknowable (preferences; given back)',
      labelNames: ['type', 'provider', 'class'],
      registers: [metrics],
    }),
    stages: new Histogram({
      name: 'herald_stage_seconds',
      help: 'claim: from a job being published to its claim. send: from there to the outcome, preferences and all providers included. status: until the outcome is recorded',
      labelNames: ['stage', 'type'],
      buckets: STAGE_BUCKETS,
      registers: [metrics],
    }),
    poison,
  };
}

const POISON = ['not_a_job', 'unknown_id'] as const;

export type Counters = ReturnType<typeof createCounters>;
