import { Counter, Histogram } from 'prom-client';
import { STAGE_BUCKETS } from '../../contracts/stages.ts';
import type { Metrics } from '../../platform/metrics.ts';

export type Counters = ReturnType<typeof createCounters>;

/** What an operator wants to see rise, or not rise. */
export const createCounters = (metrics: Metrics) => ({
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
    help: 'Outcomes that counted, by type, class and the status they led to',
    labelNames: ['type', 'class', 'status'],
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
