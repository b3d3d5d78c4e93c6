import type { FailureReason } from '../../contracts/failure-reason.ts';
import type { Whereabouts } from './find-whereabouts.ts';
import { sentence, stateOf, wordsOf } from './send-checks.ts';

/** Why a notification is not delivered. The codes are the graph's. */
export type WhyNotSent = {
  code: WaitingCode | FailureReason;
  explanation: string;
  since: Date | null;
  /** When it goes on by itself. */
  until: Date | null;
  provider: string | null;
  /** What the provider, or whoever stopped it, said. */
  said: string | null;
};

export type WaitingCode =
  | 'SCHEDULED'
  | 'REPLAY_SCHEDULED'
  | 'RETRY_SCHEDULED'
  | 'GIVEN_BACK'
  | 'WITH_WORKER'
  | 'WORKER_LOST'
  | 'PROVIDER_UNAVAILABLE'
  | 'NO_WORKER'
  | 'BROKER_AWAY'
  | 'IN_OUTBOX'
  | 'IN_QUEUE';

/**
 * Says in words why a notification is pending or failed.
 * @param isBrokerUp as this process sees it
 */
export function whyNotSent(found: Whereabouts, isBrokerUp: boolean): WhyNotSent {
  const why = found.reason === null ? whyPending(found, isBrokerUp) : whyFailed(found, found.reason);
  const explanation = sentence(why.explanation);
  const { expiresAt, leaseUntil, now } = found;
  const isOver = found.reason === null && leaseUntil === null && expiresAt !== null && expiresAt <= now;
  if (!isOver) return { ...why, explanation };
  const over = `Its expiresAt, ${at(expiresAt)}, has passed: it is not sent any more, and the next sweep ends it.`;
  return { ...why, until: null, explanation: `${over} Until then: ${explanation}` };
}

function whyPending(found: Whereabouts, isBrokerUp: boolean): WhyNotSent {
  if (found.leaseUntil !== null) return whyLeased(found, found.leaseUntil);
  if (found.dueAt > found.now) return whyLater(found);
  const waiting = { ...NOTHING, since: found.dueAt };
  if (!isBrokerUp) {
    const explanation = 'It is due, and the broker is away: it goes out when the broker is back.';
    return { ...waiting, code: 'BROKER_AWAY', explanation };
  }
  const stuck = whyNobodyTakes(found);
  if (stuck !== null) return stuck;
  if (found.outboxDueAt !== null && found.outboxDueAt > found.now) {
    const explanation = `The broker did not take its job; it is offered again at ${at(found.outboxDueAt)}.`;
    return { ...waiting, code: 'IN_OUTBOX', explanation, until: found.outboxDueAt };
  }
  if (found.outboxDueAt !== null) {
    const explanation =
      'It is due, and waits for its turn in the outbox: the queue is kept short, and higher priorities go first.';
    return { ...waiting, code: 'IN_OUTBOX', explanation };
  }
  const since = found.queuedAt ?? found.dueAt;
  const explanation = `It is in the ${found.type} queue since ${at(since)}, and waits for a worker to take it.`;
  return { ...waiting, code: 'IN_QUEUE', since, explanation };
}

function whyLeased({ attempt, claimedAt, now }: Whereabouts, leaseUntil: Date): WhyNotSent {
  const mine = attempt?.isOfLease === true ? attempt : null;
  const provider = mine?.provider ?? null;
  if (leaseUntil <= now) {
    const lost = `The worker that had it has given no sign since ${at(claimedAt)}`;
    const explanation =
      mine === null
        ? `${lost}; it had sent nothing, and the notification is taken up again within a minute or two.`
        : `${lost}, in the middle of handing it to ${provider}: nobody knows whether it arrived. That is decided within a minute or two.`;
    return { ...NOTHING, code: 'WORKER_LOST', explanation, since: leaseUntil, provider };
  }
  const explanation =
    mine === null
      ? `A worker has it since ${at(claimedAt)}, and has not handed it to a provider yet.`
      : `A worker is handing it to ${provider} since ${at(mine.startedAt)}.`;
  return {
    ...NOTHING,
    code: 'WITH_WORKER',
    explanation,
    since: mine?.startedAt ?? claimedAt,
    until: leaseUntil,
    provider,
  };
}

/** It is due at a time to come. */
function whyLater(found: Whereabouts): WhyNotSent {
  const { cause, attempt, dueAt } = found;
  const later = { ...NOTHING, since: cause?.at ?? null, until: dueAt };
  if (cause?.isDueThen !== true) {
    const explanation = `A worker gave it back without trying: it could not tell whether, or where, the user may be written to. It is due again at ${at(dueAt)}.`;
    return { ...later, code: 'GIVEN_BACK', since: null, explanation };
  }
  switch (cause.event) {
    case 'RETRY_SCHEDULED': {
      const [said, provider] = [cause.error ?? attempt?.reason ?? null, attempt?.provider ?? null];
      const stuck = whyNobodyTakes(found);
      if (stuck?.code === 'PROVIDER_UNAVAILABLE')
        return { ...stuck, until: dueAt, explanation: `${stuck.explanation} It is due again at ${at(dueAt)}.` };
      // Without an attempt no try was used up.
      const tries = `${found.failures} of its tries failed`;
      const what = found.failures === 0 ? 'It could not be handed over' : `${tries}, the last with ${provider}`;
      const explanation = `${what}${said === null ? '' : `: ${said}`}. It is tried again at ${at(dueAt)}.`;
      return { ...later, code: 'RETRY_SCHEDULED', explanation, provider, said };
    }
    case 'REPLAYED': {
      const explanation = `It is sent again by ${cause.by ?? 'somebody'}, as one of many, at ${at(dueAt)}.${because(cause.why)}`;
      return { ...later, code: 'REPLAY_SCHEDULED', explanation, said: cause.why };
    }
    case 'ACCEPTED':
    case 'SCHEDULED':
    case 'FAILED':
    case 'CANCELLED':
    case 'DISCARDED':
      return { ...later, code: 'SCHEDULED', explanation: `It was asked for at ${at(dueAt)}, and waits until then.` };
  }
}

/** Why no worker takes what is due, or null. */
function whyNobodyTakes({ type, providers, dueAt }: Whereabouts): WhyNotSent | null {
  const [first] = providers;
  if (first === undefined) {
    const explanation = `It is due, and no ${type} worker has been heard of for a minute: it goes out when one is there.`;
    return { ...NOTHING, code: 'NO_WORKER', explanation, since: dueAt };
  }
  if (providers.some(({ isTaking }) => isTaking)) return null;
  return {
    ...NOTHING,
    code: 'PROVIDER_UNAVAILABLE',
    explanation: `No provider takes messages now: ${providers.map(stateOf).join('; ')}.`,
    since: first.changedAt,
    provider: first.name,
    said: first.reason,
  };
}

function whyFailed(found: Whereabouts, reason: FailureReason): WhyNotSent {
  const { cause, attempt, endedAt, expiresAt } = found;
  const said = cause?.why ?? cause?.error ?? attempt?.reason ?? null;
  const ended = { ...NOTHING, code: reason, since: endedAt, said };
  const by = cause?.by ?? null;
  const provider = attempt?.provider ?? null;
  const words = said === null ? '' : `: ${said}`;
  const when = endedAt === null ? '' : ` at ${at(endedAt)}`;
  switch (reason) {
    case 'PREFERENCE_DISABLED':
      return {
        ...ended,
        said: null,
        explanation: `The user had switched ${CHANNELS[found.type]} off, a worker found${when}.`,
      };
    case 'SUPPRESSED':
      return {
        ...ended,
        said: found.suppression?.reason ?? null,
        explanation:
          found.suppression === null
            ? `Nothing was to be sent to the user or the address, a worker found${when}; the suppression has been lifted since.`
            : `Nothing is to be sent to the user or the address, a worker found${when}: ${wordsOf(found.suppression)}.`,
      };
    case 'ADDRESS_DEAD':
      return {
        ...ended,
        provider,
        explanation:
          attempt === null
            ? `No address of the user could be reached${when}.`
            : `The address is dead, said ${provider}${when}${words}`,
      };
    case 'REJECTED':
      return {
        ...ended,
        provider,
        explanation:
          attempt === null
            ? `It was refused for good${when}${words}`
            : `${provider} refused it for good${when}${words}`,
      };
    case 'RETRIES_EXHAUSTED':
      return {
        ...ended,
        provider,
        explanation:
          attempt === null
            ? `No worker came as far as to send it${words}`
            : `Every try failed, ${found.failures + 1} in all; the last was with ${provider}${when}${words}`,
      };
    case 'EXPIRED': {
      const deadline = expiresAt === null ? '' : ` (${at(expiresAt)})`;
      const tried = attempt === null ? 'nothing had been tried' : `the last try was with ${provider}${words}`;
      return { ...ended, provider, explanation: `Its expiresAt passed first${deadline}; ${tried}` };
    }
    case 'CANCELLED':
      return { ...ended, explanation: `It was cancelled${by === null ? '' : ` by ${by}`}${when}${words}` };
    case 'DISCARDED':
      return {
        ...ended,
        explanation: `It had failed, and was discarded${by === null ? '' : ` by ${by}`}${when}${words}`,
      };
    case 'OUTCOME_UNKNOWN':
      return {
        ...ended,
        provider,
        explanation: `Nobody knows whether it arrived: ${provider ?? 'a provider'} gave no clear answer, and there was no further try${when}${words}`,
      };
    case 'BOUNCED':
      return {
        ...ended,
        provider: provider ?? by,
        explanation: `It came back from the recipient's side, said ${by ?? provider ?? 'its provider'}${when}${words}`,
      };
  }
}

const NOTHING = { since: null, until: null, provider: null, said: null };

const CHANNELS = { email: 'e-mails', push: 'push messages' } as const;

const at = (moment: Date) => moment.toISOString();

const because = (why: string | null) => (why === null ? '' : ` ${why}`);
