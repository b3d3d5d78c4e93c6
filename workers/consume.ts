import { setTimeout as wait } from 'node:timers/promises';
import { parseJob, type NotificationType } from '../contracts/jobs.ts';
import { PUBLISHED_AT } from '../contracts/stages.ts';
import type { TopologyNames } from '../contracts/topology.ts';
import type { Broker, Consumer, IncomingMessage } from '../platform/broker/broker.ts';
import type { Logger } from '../platform/logger.ts';
import { readGivenTrace, type Trace } from '../platform/trace.ts';
import type { Tracer } from '../platform/tracing.ts';
import type { Claim, Claims } from './claims.ts';
import type { Counters } from './counters.ts';
import type { Outcome } from './deliver.ts';

type ConsumeDependencies = {
  broker: Broker;
  names: TopologyNames;
  claims: Claims;
  deliver: (claim: Claim, trace: Trace | undefined) => Promise<Outcome | 'lost' | 'unknowable'>;
  report: (claim: Claim, outcome: Outcome) => Promise<void>;
  tracer: Tracer;
  giveBack: (claim: Claim) => Promise<void>;
  /** Called when a claim's user could not be known; nothing was sent. */
  onUnknowable: (claim: Claim) => void;
  concurrency: number;
  counters: Counters;
  log: Logger;
  signal: AbortSignal;
};

/** Starts taking jobs: claim, deliver, report, ack. A message is acked only after its outcome is recorded. */
export function startConsuming(type: NotificationType, deps: ConsumeDependencies): Consumer {
  const { broker, names, log } = deps;
  return broker.consume(names.queues[type], { concurrency: deps.concurrency }, async (message) => {
    const job = parseJob(message.body);
    if (job === null) return rejectPoison(message, 'not_a_job', type, deps);
    const claim = await claimPatiently(job.notificationId, deps);
    if (claim === 'stopping') return 'requeue';
    // An early or repeated message.
    if (claim === 'nothing to do') return 'ack';
    if (claim === 'unknown') return rejectPoison(message, 'unknown_id', type, deps);

    const span = deps.tracer.start(`deliver ${type}`, {
      kind: 'consumer',
      parent: readGivenTrace(message.headers),
      attributes: { 'herald.notification_id': claim.id, 'herald.request_id': claim.correlationId ?? '' },
    });
    const measure = createStages(type, deps.counters);
    const publishedAt = Number(message.headers[PUBLISHED_AT]);
    // A job that comes again was published long ago, and says nothing of now.
    if (publishedAt > 0 && !message.redelivered) measure('claim', Date.now() - publishedAt);
    const since = performance.now();
    const outcome = await deps.deliver(claim, span.trace);
    measure('send', performance.now() - since);
    deps.counters.handled.inc({
      type,
      provider: typeof outcome === 'string' ? 'none' : (outcome.provider ?? 'none'),
      class: typeof outcome === 'string' ? outcome : outcome.class,
    });
    if (outcome === 'lost') {
      span.end('the lease was lost');
      return 'ack';
    }
    if (outcome === 'unknowable') {
      span.end('nobody can tell whether and where the user may be written to');
      deps.onUnknowable(claim);
      await deps.giveBack(claim);
      return 'ack';
    }
    const deliveredAt = performance.now();
    const reporting = deps.tracer.start('report', { parent: span.trace });
    await deps.report(claim, outcome);
    reporting.end();
    span.set({ 'herald.class': outcome.class });
    span.end(outcome.class === 'accepted' ? undefined : outcome.class);
    measure('status', performance.now() - deliveredAt);
    log.info(
      {
        notificationId: claim.id,
        correlationId: claim.correlationId,
        class: outcome.class,
        reason: outcome.reason,
        ms: Math.round(performance.now() - since),
      },
      'notification handled',
    );
    return 'ack';
  });
}

const createStages =
  (type: NotificationType, { stages }: Counters) =>
  (stage: string, ms: number) =>
    stages.observe({ stage, type }, Math.max(0, ms) / 1_000);

/** While PostgreSQL is away the message is held: this worker takes no other. */
async function claimPatiently(
  id: string,
  { claims, log, signal }: ConsumeDependencies,
): Promise<Claim | 'nothing to do' | 'unknown' | 'stopping'> {
  for (;;) {
    try {
      return await claims.claim(id);
    } catch (error) {
      if (signal.aborted) return 'stopping';
      log.error({ err: error, notificationId: id }, 'PostgreSQL does not answer; holding the job and trying on');
      await wait(1_000 * Math.random());
    }
  }
}

/** Nothing a worker does makes a job of such a message: it goes where people look, and stops nothing. */
async function rejectPoison(
  message: IncomingMessage,
  reason: 'not_a_job' | 'unknown_id',
  type: NotificationType,
  { broker, names, counters, log }: ConsumeDependencies,
): Promise<'ack' | 'requeue'> {
  counters.poison.inc({ type, reason });
  log.error({ reason, body: message.body.toString('utf8').slice(0, 200) }, 'a poison message goes to the failed queue');
  const result = await broker.publish({ exchange: names.direct, key: 'failed', body: message.body });
  return result === 'confirmed' ? 'ack' : 'requeue';
}
