import type { FailureReason } from '../contracts/failure-reason.ts';
import type { Message } from '../contracts/message.ts';
import type { OutcomeClass, TargetResult } from '../contracts/report.ts';
import type { Logger } from '../platform/logger.ts';
import { toStorable } from '../platform/text.ts';
import type { GuardedProvider } from './breaker.ts';
import type { Claim, Claims, EndedAttempt, Unreachable } from './claims.ts';
import { conclude, isOpen, toResults, type TargetOutcome } from './conclude.ts';
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
  log: Logger;
};

/**
 * Takes one claimed notification to its providers: deadline, preference, address, attempt, send. Whatever it finds is an
 * outcome to report; null when the claim was lost to another worker, so that there is nothing to say.
 */
export async function deliver(claim: Claim, deps: DeliverDependencies): Promise<Outcome | null> {
  const checked = await check(claim, deps);
  return 'class' in checked ? checked : handOver(claim, checked.targets, deps);
}

/** Everything that may have changed since the send was accepted. */
async function check(claim: Claim, deps: DeliverDependencies): Promise<{ targets: Target[] } | Outcome> {
  if (claim.isExpired) return ended('EXPIRED');
  if (claim.isSuppressed) return ended('SUPPRESSED');
  if (claim.message === null) return withoutAttempt('permanent', 'the content was erased');

  const known = await deps.preferences.read(claim.userId);
  switch (known.kind) {
    case 'unknowable':
      return withoutAttempt('not_sent', 'preferences are unknowable: the cache and the user service are away');
    case 'gone':
      return withoutAttempt('permanent', 'the user was deleted');
    case 'known':
      if (!known[claim.type]) return ended('PREFERENCE_DISABLED');
      return known.contactVersion === claim.contactVersion
        ? reach(toTargets(claim.message), claim.unreachable ?? [])
        : readdress(claim, claim.message, deps);
  }
}

/** The user's addresses changed after the send was accepted: it goes where they are now. */
async function readdress(
  claim: Claim,
  message: Message,
  { claims, preferences }: DeliverDependencies,
): Promise<{ targets: Target[] } | Outcome> {
  const contact = await preferences.readContact(claim.userId).catch(() => undefined);
  if (contact === undefined)
    return withoutAttempt('not_sent', "the user's address is unknowable: the user service is away");
  if (message.type === 'email' && contact?.email == null) return ended('ADDRESS_DEAD');
  const targets = toTargets(
    message.type === 'email'
      ? { ...message, to: { ...message.to, address: contact?.email ?? '' } }
      : { ...message, tokens: contact?.pushTokens ?? [] },
  );
  try {
    return reach(targets, await claims.findUnreachable(targets));
  } catch {
    return withoutAttempt('not_sent', 'PostgreSQL went away before the send');
  }
}

/** Without those that nothing may be sent to. */
function reach(targets: Target[], unreachable: Unreachable[]): { targets: Target[] } | Outcome {
  const reached = targets.filter(({ id }) => !unreachable.some((other) => other.id === id));
  if (reached.length > 0) return { targets: reached };
  return ended(unreachable.some(({ why }) => why === 'suppressed') ? 'SUPPRESSED' : 'ADDRESS_DEAD');
}

/**
 * Goes down the chain: each provider gets the targets that it can take and that no provider before it settled. One provider is
 * one attempt.
 */
async function handOver(claim: Claim, targets: Target[], deps: DeliverDependencies): Promise<Outcome | null> {
  const outcomes = new Map<string, TargetOutcome>(
    claim.settled?.map((settled) => [
      settled.target,
      { class: settled.class, reason: 'settled by an earlier attempt' },
    ]),
  );
  let last: EndedAttempt | null = null;
  for (const provider of deps.providers) {
    const mine = targets.filter(({ id, kind }) => provider.takes.includes(kind) && isOpen(outcomes.get(id)));
    if (mine.length === 0) continue;
    const admission = await provider.admit();
    if (admission === null) {
      for (const { id } of mine) if (!outcomes.has(id)) outcomes.set(id, notSent(provider));
      continue;
    }
    const start = await startAttempt(claim, provider, last, deps);
    if (start !== 'started') admission.giveUp();
    // What an earlier provider said is still to be told, and is judged by its token.
    if (start === 'lost') return last === null ? null : toOutcome(outcomes, last);
    if (start === 'unclear') {
      // Perhaps it was opened: then this closes it.
      if (last === null) return { ...withoutAttempt('not_sent', GONE), hasAttempt: true };
      break;
    }
    const sent = await sendAll(claim, mine, provider, deps);
    for (const [id, outcome] of sent) outcomes.set(id, outcome);
    last = toEnded(provider.name, outcomes, sent);
  }
  for (const { id, kind } of targets)
    if (!outcomes.has(id)) outcomes.set(id, { class: 'permanent', reason: `no provider that is set up takes ${kind}` });
  return toOutcome(outcomes, last);
}

async function sendAll(
  { id: notificationId }: Claim,
  targets: Target[],
  provider: GuardedProvider,
  { providerTimeoutMs }: DeliverDependencies,
): Promise<Map<string, TargetOutcome>> {
  const signal = AbortSignal.timeout(providerTimeoutMs);
  const send = async ({ id, message }: Target) =>
    [id, await provider.send(message, { notificationId, signal })] as const;
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
): Promise<'started' | 'lost' | 'unclear'> {
  try {
    const start = { id: claim.id, token: claim.token, provider: provider.name, ended: last };
    if ((await claims.startAttempt(start)) !== null) return 'started';
    log.warn(
      { notificationId: claim.id, token: claim.token },
      'the lease was lost before the send; another worker has it',
    );
    return 'lost';
  } catch (error) {
    log.error({ err: error, notificationId: claim.id }, 'the attempt could not be opened, so nothing is sent');
    return 'unclear';
  }
}

/** What the claim has come to after an attempt, with the attempt's own results. */
function toEnded(
  provider: string,
  outcomes: ReadonlyMap<string, TargetOutcome>,
  sent: ReadonlyMap<string, TargetOutcome>,
): EndedAttempt {
  const whole = conclude(outcomes);
  return {
    provider,
    class: whole.class,
    reason: whole.reason === undefined ? null : toStorable(whole.reason),
    retry_after_seconds: whole.retryAfterSeconds ?? null,
    provider_message_id: whole.providerMessageId === undefined ? null : toStorable(whole.providerMessageId),
    results: toResults(sent),
  };
}

function toOutcome(outcomes: ReadonlyMap<string, TargetOutcome>, last: EndedAttempt | null): Outcome {
  const whole = conclude(outcomes);
  return {
    class: whole.class,
    reason: whole.reason === undefined ? null : toStorable(whole.reason),
    retryAfterSeconds: whole.retryAfterSeconds ?? null,
    provider: last?.provider ?? null,
    providerMessageId: whole.providerMessageId === undefined ? null : toStorable(whole.providerMessageId),
    results: last?.results ?? null,
    hasAttempt: last !== null,
  };
}

const GONE = 'PostgreSQL went away before the send';

const notSent = (provider: GuardedProvider): TargetOutcome => {
  const { state, reason } = provider.state();
  return { class: 'not_sent', reason: `${provider.name} is ${state}${reason === null ? '' : `: ${reason}`}` };
};

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
