import { Counter, Histogram } from 'prom-client';
import { FAILURE_REASONS } from '../../contracts/failure-reason.ts';
import { NOTIFICATION_TYPES } from '../../contracts/jobs.ts';
import { PROVIDERS } from '../../contracts/providers.ts';
import { STAGE_BUCKETS } from '../../contracts/stages.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { Change } from './outcomes.ts';

export type Counters = ReturnType<typeof defineCounters>;

/**
 * What an operator wants to see rise, or not rise. What alerts ask for is there from the start: of a series that appears with 3,
 * Prometheus sees no increase.
 */
export function createCounters(metrics: Metrics): Counters {
  const counters = defineCounters(metrics);
  for (const name of ['kept', 'unknown', 'given_back', 'given_up', 'expired']) counters.swept.inc({ case: name }, 0);
  for (const type of NOTIFICATION_TYPES) {
    counters.accepted.inc({ type }, 0);
    counters.published.inc({ key: type }, 0);
    const untold = { type, provider: 'none', class: 'none' };
    counters.outcomes.inc({ ...untold, status: 'delivered', reason: 'none' }, 0);
    for (const reason of FAILURE_REASONS)
      if (reason !== 'DISCARDED') counters.outcomes.inc({ ...untold, status: 'failed', reason }, 0);
    for (const provider of PROVIDERS[type])
      for (const [outcome, status, reason] of USUAL_OUTCOMES)
        counters.outcomes.inc({ type, provider, class: outcome, status, reason }, 0);
  }
  return counters;
}

const USUAL_OUTCOMES = [
  ['accepted', 'delivered', 'none'],
  ['permanent', 'failed', 'REJECTED'],
  ['address_dead', 'failed', 'ADDRESS_DEAD'],
  ['transient', 'failed', 'RETRIES_EXHAUSTED'],
  ['unknown', 'failed', 'OUTCOME_UNKNOWN'],
  ['unknown', 'pending', 'none'],
] as const;

/** Every outcome that counted and every end, whoever told it or brought it about. */
export function countOutcomes(counters: Counters, changes: readonly Change[]): void {
  for (const { id, type, status, previousStatus, reason, provider, attempt } of changes) {
    counters.outcomes.inc({
      type,
      provider: provider ?? 'none',
      class: attempt?.class ?? 'none',
      status,
      reason: reason ?? 'none',
    });
    if (status !== 'pending' && previousStatus === 'pending')
      counters.stages.observe({ stage: 'whole', type }, (Date.now() - acceptedAt(id)) / 1_000);
  }
}

/** An id (UUIDv7) begins with its moment, milliseconds since 1970. */
const acceptedAt = (id: string) => Number.parseInt(id.slice(0, 13).replace('-', ''), 16);

const defineCounters = (metrics: Metrics) => ({
  accepted: new Counter({
    name: 'herald_accepted_total',
    help: 'Notifications accepted, by type',
    labelNames: ['type'],
    registers: [metrics],
  }),
  published: new Counter({
    name: 'herald_published_total',
    help: 'Jobs that the broker confirmed, by key',
    labelNames: ['key'],
    registers: [metrics],
  }),
  stages: new Histogram({
    name: 'herald_stage_seconds',
    help: 'publish: from a job being due to the confirm of the broker. whole: from acceptance to the end, what it was scheduled for and retries included',
    labelNames: ['stage', 'type'],
    buckets: STAGE_BUCKETS,
    registers: [metrics],
  }),
  outcomes: new Counter({
    name: 'herald_outcomes_total',
    help: 'Outcomes that counted, and ends without one (class none): by whose word it was and what it led to; reason: of what failed. What bounces was counted before, as delivered',
    labelNames: ['type', 'provider', 'class', 'status', 'reason'],
    registers: [metrics],
  }),
  stale: new Counter({
    name: 'herald_stale_reports_total',
    help: "Workers' reports that were refused with 409: another claim or an end was there first, by type and class",
    labelNames: ['type', 'class'],
    registers: [metrics],
  }),
  lateDelivered: new Counter({
    name: 'herald_late_delivered_total',
    help: 'Deliveries that were told only after their lease was lost or their outcome recorded as unknown, by type',
    labelNames: ['type'],
    registers: [metrics],
  }),
  unpublished: new Counter({
    name: 'herald_unpublished_total',
    help: 'Jobs that the broker did not take, by key: unconfirmed = no confirm came, unroutable = no queue is bound',
    labelNames: ['key', 'case'],
    registers: [metrics],
  }),
  brokerWipes: new Counter({
    name: 'herald_broker_wipes_total',
    help: "How often the broker's data was found gone",
    registers: [metrics],
  }),
  swept: new Counter({
    name: 'herald_swept_total',
    help: 'Leases that ran out: kept = the outcome lay in the attempt, unknown = nobody knows, kept or not, given_back = nothing was sent, given_up = claimed too often. expired = ended by its deadline, without a lease',
    labelNames: ['case'],
    registers: [metrics],
  }),
  sweepsSkipped: new Counter({
    name: 'herald_sweeps_skipped_total',
    help: 'Sweeps that did not look at leases, because PostgreSQL was away less than a lease ago',
    registers: [metrics],
  }),
  requeued: new Counter({
    name: 'herald_requeued_total',
    help: "Jobs published again: wiped = the broker's data was gone, lost = nobody claimed them for long",
    labelNames: ['case'],
    registers: [metrics],
  }),
  feedback: new Counter({
    name: 'herald_feedback_total',
    help: 'What providers told of messages after they took them, by provider and kind',
    labelNames: ['provider', 'kind'],
    registers: [metrics],
  }),
  purged: new Counter({
    name: 'herald_purged_total',
    help: 'What retention removed: content, request_keys, feedback, feed, provider_states, counts (rows), partitions',
    labelNames: ['what'],
    registers: [metrics],
  }),
});
