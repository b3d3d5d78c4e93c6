import type { OutcomeClass } from '../../contracts/report.ts';
import type { FailureReason } from '../../contracts/failure-reason.ts';
import { isFailureReason } from '../../contracts/failure-reason.ts';

/** A notification as the decision needs it. */
export type Standing = {
  onAmbiguous: 'resend' | 'fail';
  /** Tries of the retry schedule used up before this outcome. */
  failures: number;
  /** When the first of them was, in this run. */
  failingSince: Date | null;
  /** An earlier attempt of this run had an unknown outcome. */
  mayHaveArrived: boolean;
  expiresAt: Date | null;
  /** The user was deleted: nothing is sent to them any more. */
  isErased: boolean;
};

export type Outcome = { class: OutcomeClass; reason: string | null; retryAfterSeconds: number | null };

export type Decision =
  | { status: 'delivered' }
  | { status: 'failed'; reason: FailureReason }
  /** Due again after `delayMs`; `usedUp`: the attempt counts against the schedule. */
  | { status: 'pending'; delayMs: number; usedUp: boolean };

/**
 * The nth delay is random, up to `baseSeconds` × 2ⁿ⁻¹ and `capSeconds`. The last try is made `giveUpSeconds` after the first
 * failure: by then, not by a count, since what jitter makes of a count may be over in a moment.
 */
export type RetrySchedule = { baseSeconds: number; capSeconds: number; giveUpSeconds: number };

/** How soon a notification that was never handed over is tried again. */
const NOT_SENT_DELAY_MS = 5_000;
const CONFIGURATION_DELAY_MS = 30_000;

/**
 * What an attempt's outcome means for its notification. Pure: the only place that decides on retry and failure.
 * @param random a number from 0 to 1, for the jitter
 */
export function decide(
  standing: Standing,
  outcome: Outcome,
  schedule: RetrySchedule,
  now: Date,
  random: number,
): Decision {
  const decision = decideForLiving(standing, outcome, schedule, now, random);
  if (!standing.isErased || decision.status === 'delivered') return decision;
  return givenUp({ mayHaveArrived: standing.mayHaveArrived || outcome.class === 'unknown' }, 'CANCELLED');
}

function decideForLiving(
  standing: Standing,
  outcome: Outcome,
  schedule: RetrySchedule,
  now: Date,
  random: number,
): Decision {
  switch (outcome.class) {
    case 'accepted':
      return { status: 'delivered' };
    case 'permanent':
      return { status: 'failed', reason: isFailureReason(outcome.reason) ? outcome.reason : 'REJECTED' };
    case 'address_dead':
      return { status: 'failed', reason: 'ADDRESS_DEAD' };
    case 'unknown':
      if (standing.onAmbiguous === 'fail') return { status: 'failed', reason: 'OUTCOME_UNKNOWN' };
      return retry({ ...standing, mayHaveArrived: true }, outcome, schedule, now, random);
    case 'transient':
      return retry(standing, outcome, schedule, now, random);
    case 'configuration':
      return notBeyond(standing, { status: 'pending', delayMs: CONFIGURATION_DELAY_MS, usedUp: false }, now);
    case 'not_sent':
      return notBeyond(standing, { status: 'pending', delayMs: NOT_SENT_DELAY_MS, usedUp: false }, now);
  }
}

/** Exponential back-off with full jitter, never sooner than the provider asked; the last try at the end of the schedule. */
function retry(standing: Standing, outcome: Outcome, schedule: RetrySchedule, now: Date, random: number): Decision {
  const failingSeconds = (now.getTime() - (standing.failingSince ?? now).getTime()) / 1_000;
  const leftSeconds = schedule.giveUpSeconds - failingSeconds;
  if (leftSeconds <= 0) return givenUp(standing, 'RETRIES_EXHAUSTED');
  const ceilingSeconds = Math.min(schedule.capSeconds, schedule.baseSeconds * 2 ** standing.failures);
  const delaySeconds = Math.max(Math.min(ceilingSeconds * random, leftSeconds), outcome.retryAfterSeconds ?? 0);
  return notBeyond(standing, { status: 'pending', delayMs: Math.round(delaySeconds * 1_000), usedUp: true }, now);
}

/** A try after the deadline would be for nothing. */
function notBeyond(standing: Standing, next: Extract<Decision, { status: 'pending' }>, now: Date): Decision {
  const inTime = standing.expiresAt === null || now.getTime() + next.delayMs < standing.expiresAt.getTime();
  return inTime ? next : givenUp(standing, 'EXPIRED');
}

/** No further try, and so no delivery: unless one of those before may have been one. */
export const givenUp = (
  { mayHaveArrived }: Pick<Standing, 'mayHaveArrived'>,
  reason: 'RETRIES_EXHAUSTED' | 'EXPIRED' | 'CANCELLED',
): Extract<Decision, { status: 'failed' }> => ({
  status: 'failed',
  reason: mayHaveArrived ? 'OUTCOME_UNKNOWN' : reason,
});
