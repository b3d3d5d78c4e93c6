import type { FailureReason } from '../contracts/failure-reason.ts';
import type { Message } from '../contracts/message.ts';
import { MAX_PROVIDER_MESSAGE_ID, MAX_REASON, type OutcomeClass, type TargetResult } from '../contracts/report.ts';
import type { Logger } from '../platform/logger.ts';
import { toStorable } from '../platform/text.ts';
import type { Trace } from '../platform/trace.ts';
import type { Tracer } from '../platform/tracing.ts';
import type { GuardedProvider } from './breaker.ts';
import type { Claim, Claims, EndedAttempt, Start, Unreachable } from './claims.ts';
import { conclude, isOpen, merge, toResults, toTargetOutcome, type TargetOutcome } from './conclude.ts';
import type { PreferencesReader } from './preferences.ts';
import { toTargets, type Target } from './targets.ts';

/** What became of a claimed notification in this worker's hands. */
export type Outcome = {
  class: OutcomeClass;
  /** For the operator; for `permanent` also a failure reason of the graph. */
  reason: string | null;
  retryAfterSeconds: number | null;
  provider: string | null;
  providerMessageId: string | null;
  results: TargetResult[] | null;
  /** Whether an attempt was opened in the database. */
  hasAttempt: boolean;
};

export type DeliverDependencies = {
  claims: Claims;
  preferences: PreferencesReader;
  /** In the order in which they are tried. */
  providers: readonly GuardedProvider[];
  providerTimeoutMs: number;
  tracer: Tracer;
  /** The step that the hand-overs are a part of. */
  trace?: Trace | undefined;
  /** Aborted when the worker stops: what is under way is finished, nothing more is begun. */
  signal: AbortSignal;
  log: Logger;
};

/**
 * Takes one claimed notification to its providers: deadline, preference, address, attempt, send. Whatever it finds is an
 * outcome to report, but `lost`: another worker has the claim, so there is nothing to say; and `unknowable`: nobody can tell
 * whether or where the user may be written to, so nothing was tried.
 */
export async function deliver(claim: Claim, deps: DeliverDependencies): Promise<Outcome | 'lost' | 'unknowable'> {
  if (claim.isExpired) return ended('EXPIRED');
  if (claim.isSuppressed) return ended('SUPPRESSED');
  if (claim.message === null) return erased();
  const targets = await findTargets(claim, claim.message, claim.unreachable ?? [], deps);
  return Array.isArray(targets) ? handOver(claim, claim.message, targets, deps) : targets;
}

/** Whether what `deliver` could not know of this claim's user can be known now. */
export const isKnowable = async (claim: Claim, deps: DeliverDependencies): Promise<boolean> =>
  claim.message === null || (await findTargets(claim, claim.message, [], deps)) !== 'unknowable';

/**
 * Where the message may go now, by the user's preferences and addresses.
 * @param unreachable those of the message's own targets, null when that must be asked anew
 */
async function findTargets(
  claim: Claim,
  message: Message,
  unreachable: Unreachable[] | null,
  deps: DeliverDependencies,
): Promise<Target[] | Outcome | 'unknowable'> {
  const known = await deps.preferences.read(claim.userId);
  switch (known.kind) {
    case 'unknowable':
      return 'unknowable';
    case 'gone':
      return ended('CANCELLED');
    case 'known':
      if (!known[claim.type]) return ended('PREFERENCE_DISABLED');
      if (known.contactVersion !== claim.contactVersion) return readdress(claim, message, deps);
      return unreachable === null ? reachNow(toTargets(message), deps) : reach(toTargets(message), unreachable);
  }
}

/** The user's addresses changed after the send was accepted: it goes where they are now. */
async function readdress(
  claim: Claim,
  message: Message,
  deps: DeliverDependencies,
): Promise<Target[] | Outcome | 'unknowable'> {
  const contact = await deps.preferences.readContact(claim.userId).catch(() => undefined);
  if (contact === undefined) return 'unknowable';
  if (message.type === 'email' && contact?.email == null) return ended('ADDRESS_DEAD');
  const targets = toTargets(
    message.type === 'email'
      ? { ...message, to: { ...message.to, address: contact?.email ?? '' } }
      : { ...message, tokens: contact?.pushTokens ?? [] },
  );
  return reachNow(targets, deps);
}

async function reachNow(targets: Target[], { claims }: DeliverDependencies): Promise<Target[] | Outcome> {
  try {
    return reach(targets, await claims.findUnreachable(targets));
  } catch {
    return withoutAttempt('not_sent', GONE);
  }
}

/** Without those that nothing may be sent to. */
function reach(targets: Target[], unreachable: Unreachable[]): Target[] | Outcome {
  const reached = targets.filter(({ id }) => !unreachable.some((other) => other.id === id));
  if (reached.length > 0) return reached;
  return ended(unreachable.some(({ why }) => why === 'suppressed') ? 'SUPPRESSED' : 'ADDRESS_DEAD');
}

/**
 * Goes down the chain: each provider gets the targets that it can take and that no provider before it settled. One provider is
 * one attempt.
 */
async function handOver(
  claim: Claim,
  message: Message,
  found: Target[],
  deps: DeliverDependencies,
): Promise<Outcome | 'lost' | 'unknowable'> {
  let targets = found;
  let foundAt = performance.now();
  const outcomes = new Map<string, TargetOutcome>(
    claim.settled?.map((settled) => [
      settled.target,
      { class: settled.class, reason: 'settled by an earlier attempt' },
    ]),
  );
  let last: EndedAttempt | null = null;
  const openFor = (provider: GuardedProvider) =>
    targets.filter(({ id, kind }) => provider.takes.includes(kind) && isOpen(outcomes.get(id)));
  for (const provider of deps.providers) {
    let mine = openFor(provider);
    if (mine.length === 0) continue;
    const admission = await provider.admit();
    if (admission === null) {
      for (const { id } of mine) if (!outcomes.has(id)) outcomes.set(id, notSent(provider));
      continue;
    }
    // Two providers that hang would take longer than the worker has.
    if (deps.signal.aborted) {
      admission.giveUp();
      for (const { id } of mine)
        if (!outcomes.has(id)) outcomes.set(id, { class: 'not_sent', reason: 'the worker stops' });
      continue;
    }
    // The provider before this one, or the trial of this one, may have taken long.
    if (performance.now() - foundAt > FOUND_HOLDS_MS) {
      const again = await findTargets(claim, message, null, deps);
      if (!Array.isArray(again)) {
        admission.giveUp();
        return last === null ? again : toOutcome(outcomes, last);
      }
      targets = again;
      foundAt = performance.now();
      mine = openFor(provider);
      if (mine.length === 0) {
        admission.giveUp();
        continue;
      }
    }
    const start = await startAttempt(claim, provider, last, deps);
    if (start !== 'started') {
      admission.giveUp();
      // What an earlier provider said is still to be told, and is judged by its token; the rest shows at the next claim.
      return last === null ? withoutStart(start) : toOutcome(outcomes, last);
    }
    const sent = await sendAll(claim, mine, provider, deps);
    for (const [id, outcome] of sent) outcomes.set(id, merge(outcomes.get(id), outcome));
    last = toEnded(provider.name, outcomes, sent);
  }
  for (const { id, kind } of targets)
    if (!outcomes.has(id)) outcomes.set(id, { class: 'permanent', reason: `no provider that is set up takes ${kind}` });
  return toOutcome(outcomes, last);
}

function withoutStart(start: Exclude<Start, 'started'> | 'unclear'): Outcome | 'lost' {
  switch (start) {
    case 'lost':
      return start;
    case 'unclear':
      // Perhaps it was opened: then this closes it.
      return { ...withoutAttempt('not_sent', GONE), hasAttempt: true };
    case 'ERASED':
      return erased();
    case 'EXPIRED':
    case 'SUPPRESSED':
      return ended(start);
  }
}

async function sendAll(
  { id: notificationId, correlationId }: Claim,
  targets: Target[],
  provider: GuardedProvider,
  { providerTimeoutMs, tracer, trace }: DeliverDependencies,
): Promise<Map<string, TargetOutcome>> {
  const signal = AbortSignal.timeout(providerTimeoutMs);
  const send = async ({ id, message }: Target) => {
    const span = tracer.start(`send by ${provider.name}`, { kind: 'client', parent: trace });
    const outcome = toTargetOutcome(await provider.send(message, { notificationId, correlationId, signal }));
    span.set({ 'herald.class': outcome.class });
    span.end(outcome.class === 'accepted' ? undefined : outcome.class);
    return [id, outcome] as const;
  };
  // A circuit that is being tried lets one through; the others go when it has closed.
  const [first, ...others] = targets;
  const tried = provider.state().state === 'half_open' && first !== undefined ? [await send(first)] : [];
  return new Map([...tried, ...(await Promise.all((tried.length > 0 ? others : targets).map(send)))]);
}

async function startAttempt(
  claim: Claim,
  provider: GuardedProvider,
  last: EndedAttempt | null,
  { claims, log }: DeliverDependencies,
): Promise<Start | 'unclear'> {
  const ids = { notificationId: claim.id, correlationId: claim.correlationId };
  try {
    const start = await claims.startAttempt({
      id: claim.id,
      token: claim.token,
      provider: provider.name,
      ended: last,
    });
    if (start === 'lost')
      log.warn({ ...ids, token: claim.token }, 'the lease was lost before the send; another worker has it');
    return start;
  } catch (error) {
    log.error({ err: error, ...ids }, 'the attempt could not be opened, so nothing is sent');
    return 'unclear';
  }
}

/** What the claim has come to after an attempt, with the attempt's own results and message id: events name it. */
function toEnded(
  provider: string,
  outcomes: ReadonlyMap<string, TargetOutcome>,
  sent: ReadonlyMap<string, TargetOutcome>,
): EndedAttempt {
  const whole = conclude(outcomes);
  const { providerMessageId } = conclude(sent);
  return {
    provider,
    class: whole.class,
    reason: toText(whole.reason, MAX_REASON),
    retry_after_seconds: whole.retryAfterSeconds ?? null,
    provider_message_id: toText(providerMessageId, MAX_PROVIDER_MESSAGE_ID),
    results: toResults(sent),
  };
}

function toOutcome(outcomes: ReadonlyMap<string, TargetOutcome>, last: EndedAttempt | null): Outcome {
  const whole = conclude(outcomes);
  return {
    class: whole.class,
    reason: toText(whole.reason, MAX_REASON),
    retryAfterSeconds: whole.retryAfterSeconds ?? null,
    provider: last?.provider ?? null,
    providerMessageId: last?.provider_message_id ?? null,
    results: last?.results ?? null,
    hasAttempt: last !== null,
  };
}

/** A provider may say anything, and as much as it likes; a report that is too long would be refused with all of its list. */
const toText = (said: string | undefined, length: number): string | null =>
  said === undefined ? null : toStorable(said.slice(0, length));

/** Preferences and addresses found longer ago are asked for again before a hand-over. */
const FOUND_HOLDS_MS = 1_000;

const GONE = 'PostgreSQL went away before the send';

const notSent = (provider: GuardedProvider): TargetOutcome => {
  const { state, reason } = provider.state();
  const why = reason === null ? '' : `: ${reason}`;
  return toTargetOutcome({ class: 'not_sent', reason: `${provider.name} is ${state}${why}` });
};

const erased = () => withoutAttempt('permanent', 'the content was erased');

const ended = (reason: FailureReason) => withoutAttempt('permanent', reason);

const withoutAttempt = (outcomeClass: OutcomeClass, reason: string): Outcome => ({
  class: outcomeClass,
  reason,
  retryAfterSeconds: null,
  provider: null,
  providerMessageId: null,
  results: null,
  hasAttempt: false,
});
