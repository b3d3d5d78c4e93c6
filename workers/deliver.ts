import type { Message } from '../contracts/message.ts';
import type { OutcomeClass } from '../contracts/report.ts';
import type { FailureReason } from '../contracts/failure-reason.ts';
import type { Logger } from '../platform/logger.ts';
import type { Claim, Claims } from './claims.ts';
import type { PreferencesReader } from './preferences.ts';
import { toStorable } from '../platform/text.ts';
import type { GuardedProvider } from './breaker.ts';

/** What became of a claimed notification in this worker's hands. */
export type Outcome = {
  class: OutcomeClass;
  /** For the operator; for `permanent` also a failure reason of the graph. */
  reason: string | null;
  retryAfterSeconds: number | null;
  provider: string | null;
  providerMessageId: string | null;
  /** Whether an attempt was opened in the database. */
  hasAttempt: boolean;
};

export type DeliverDependencies = {
  claims: Claims;
  preferences: PreferencesReader;
  provider: GuardedProvider;
  providerTimeoutMs: number;
  log: Logger;
};

/**
 * Takes one claimed notification to its provider: deadline, preference, address, attempt, send. Whatever it finds is an
 * outcome to report; null when the claim was lost to another worker, so that there is nothing to say.
 */
export async function deliver(claim: Claim, deps: DeliverDependencies): Promise<Outcome | null> {
  const checked = await check(claim, deps);
  if ('class' in checked) return checked;

  const { provider, log } = deps;
  const admission = await provider.admit();
  if (admission === null) return withoutAttempt('not_sent', `the circuit of ${provider.name} is open`);
  const attempt = await startAttempt(claim, deps);
  if (attempt !== 'started') admission.giveUp();
  if (attempt === 'lost') {
    log.warn(
      { notificationId: claim.id, token: claim.token },
      'the lease was lost before the send; another worker has it',
    );
    return null;
  }
  // Perhaps it was opened: then this closes it.
  if (attempt === 'unclear')
    return { ...withoutAttempt('not_sent', 'PostgreSQL went away before the send'), hasAttempt: true };

  const sent = await provider.send(checked.message, {
    notificationId: claim.id,
    signal: AbortSignal.timeout(deps.providerTimeoutMs),
  });
  return {
    class: sent.class,
    reason: sent.reason === undefined ? null : toStorable(sent.reason),
    retryAfterSeconds: ('retryAfterSeconds' in sent && sent.retryAfterSeconds) || null,
    provider: provider.name,
    providerMessageId:
      'providerMessageId' in sent && sent.providerMessageId !== undefined ? toStorable(sent.providerMessageId) : null,
    hasAttempt: true,
  };
}

async function startAttempt(
  claim: Claim,
  { claims, provider, log }: DeliverDependencies,
): Promise<'started' | 'lost' | 'unclear'> {
  try {
    const number = await claims.startAttempt({ id: claim.id, token: claim.token, provider: provider.name });
    return number === null ? 'lost' : 'started';
  } catch (error) {
    log.error({ err: error, notificationId: claim.id }, 'the attempt could not be opened, so nothing is sent');
    return 'unclear';
  }
}

/** Everything that may have changed since the send was accepted. */
async function check(claim: Claim, { preferences }: DeliverDependencies): Promise<{ message: Message } | Outcome> {
  if (claim.isExpired) return ended('EXPIRED');
  if (claim.isSuppressed) return ended('SUPPRESSED');
  if (claim.message === null) return withoutAttempt('permanent', 'the content was erased');

  const known = await preferences.read(claim.userId);
  switch (known.kind) {
    case 'unknowable':
      return withoutAttempt('not_sent', 'preferences are unknowable: the cache and the user service are away');
    case 'gone':
      return withoutAttempt('permanent', 'the user was deleted');
    case 'known':
      if (!known[claim.type]) return ended('PREFERENCE_DISABLED');
      return known.contactVersion === claim.contactVersion
        ? { message: claim.message }
        : readdress(claim, claim.message, preferences);
  }
}

/** The user's addresses changed after the send was accepted: it goes where they are now. */
async function readdress(
  claim: Claim,
  message: Message,
  preferences: PreferencesReader,
): Promise<{ message: Message } | Outcome> {
  const contact = await preferences.readContact(claim.userId).catch(() => undefined);
  if (contact === undefined)
    return withoutAttempt('not_sent', "the user's address is unknowable: the user service is away");
  const address = message.type === 'email' ? contact?.email : contact?.pushToken;
  if (address == null) return withoutAttempt('permanent', 'the user has no address of this type any more');
  return {
    message:
      message.type === 'email' ? { ...message, to: { ...message.to, address } } : { ...message, tokens: [address] },
  };
}

const ended = (reason: FailureReason) => withoutAttempt('permanent', reason);

const withoutAttempt = (outcomeClass: OutcomeClass, reason: string): Outcome => ({
  class: outcomeClass,
  reason,
  retryAfterSeconds: null,
  provider: null,
  providerMessageId: null,
  hasAttempt: false,
});
