import { MAX_PROVIDER_MESSAGE_ID, toRetryAfter, type OutcomeClass, type TargetResult } from '../contracts/report.ts';
import { toStorable } from '../platform/text.ts';
import type { SendOutcome } from './provider.ts';

/** What became of a message at one target so far. `not_sent`: no provider was to be had. */
export type TargetOutcome =
  SendOutcome | { class: 'not_sent'; reason: string; retryAfterSeconds?: undefined; providerMessageId?: undefined };

/** Below the limits of a status report (contracts/report.ts): one that breaks them is refused together with its whole batch. */
const MAX_REASON = 8_000;
const MAX_TARGET = 320;

/** What a provider made of a message, within what can be kept: it may have been told anything. */
export function toTargetOutcome(outcome: TargetOutcome): TargetOutcome {
  if (outcome.class === 'not_sent') return { ...outcome, reason: outcome.reason.slice(0, MAX_REASON) };
  const { reason, retryAfterSeconds: wait, providerMessageId } = outcome;
  return {
    ...outcome,
    ...(reason !== undefined && { reason: reason.slice(0, MAX_REASON) }),
    ...(wait !== undefined && { retryAfterSeconds: toRetryAfter(wait) }),
    ...(providerMessageId !== undefined && { providerMessageId: providerMessageId.slice(0, MAX_PROVIDER_MESSAGE_ID) }),
  };
}

/** Whether the next provider may be tried: this one surely did not take the message, and not for the message's sake. */
export const isOpen = (outcome: TargetOutcome | undefined): boolean =>
  outcome === undefined || PASSED_ON.includes(outcome.class);

const PASSED_ON: OutcomeClass[] = ['transient', 'configuration', 'not_sent'];

/**
 * What a message has come to at one target that two providers were tried with. A provider that could not try takes nothing
 * back: one before it failed for now, which uses up a try and may ask for a wait.
 */
export function merge(earlier: TargetOutcome | undefined, later: TargetOutcome): TargetOutcome {
  if (earlier?.class !== 'transient') return later;
  if (later.class === 'configuration' || later.class === 'not_sent') return earlier;
  const waits = [earlier, later].flatMap(({ retryAfterSeconds }) => retryAfterSeconds ?? []);
  return later.class === 'transient' && waits.length > 0 ? { ...later, retryAfterSeconds: Math.max(...waits) } : later;
}

/** The first of these that any target met is what the whole came to: one device that has it is enough. */
const ORDER: OutcomeClass[] = [
  'accepted',
  'unknown',
  'transient',
  'configuration',
  'not_sent',
  'permanent',
  'address_dead',
];

/** What the outcomes at all targets of one notification come to together. */
export function conclude(outcomes: ReadonlyMap<string, TargetOutcome>): TargetOutcome {
  const all = [...outcomes.values()];
  const found = ORDER.map((name) => all.find((outcome) => outcome.class === name)).find(
    (outcome) => outcome !== undefined,
  );
  if (found === undefined) return { class: 'permanent', reason: 'there is nobody to send to' };
  const waits = all.flatMap(({ retryAfterSeconds }) => retryAfterSeconds ?? []);
  return found.class === 'transient' && waits.length > 0 ? { ...found, retryAfterSeconds: Math.max(...waits) } : found;
}

/** For the report: each target with its own outcome. */
export const toResults = (outcomes: ReadonlyMap<string, TargetOutcome>): TargetResult[] =>
  [...outcomes].map(([target, outcome]) => ({
    target: target.slice(0, MAX_TARGET),
    class: outcome.class,
    ...(outcome.reason !== undefined && { reason: toStorable(outcome.reason.slice(0, REASON_LENGTH)) }),
  }));

/** Many devices share one report, whose size is bounded. */
const REASON_LENGTH = 300;
