/** Why a notification ended `failed`; the names are the graph's. */
export const FAILURE_REASONS = [
  'PREFERENCE_DISABLED',
  'SUPPRESSED',
  'ADDRESS_DEAD',
  'REJECTED',
  'RETRIES_EXHAUSTED',
  'EXPIRED',
  'CANCELLED',
  'DISCARDED',
  'OUTCOME_UNKNOWN',
  'BOUNCED',
] as const;

export type FailureReason = (typeof FAILURE_REASONS)[number];

export const isFailureReason = (text: unknown): text is FailureReason =>
  FAILURE_REASONS.some((reason) => reason === text);

/** What a replay by filter takes when the filter names no reason: what somebody ended on purpose stays ended. */
export const REPLAYED_REASONS = FAILURE_REASONS.filter((reason) => reason !== 'CANCELLED' && reason !== 'DISCARDED');

/** These end as wanted: no operator need see them in failed.queue. */
const NOT_DEAD_LETTERS: readonly FailureReason[] = ['PREFERENCE_DISABLED', 'EXPIRED', 'CANCELLED'];

export const isDeadLetter = (reason: FailureReason) => !NOT_DEAD_LETTERS.includes(reason);
