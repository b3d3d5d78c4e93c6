import type { Exchange, Answer } from './exchange.ts';
import type { SendOutcome } from './provider.ts';
import { toReason } from './reason.ts';

/**
 * What became of a hand-over by HTTP. An answer is the whole reason, so that what nobody foresaw can be understood later.
 * @param classify what an answer of this provider says of the hand-over
 */
export function toSendOutcome(result: Exchange, classify: (answer: Answer) => SendOutcome): SendOutcome {
  return result.kind === 'answered' ? { reason: toReason(result), ...classify(result) } : toUnanswered(result);
}

/** What became of a hand-over by HTTP that got no answer. */
export const toUnanswered = ({ kind, reason }: Exclude<Exchange, { kind: 'answered' }>): SendOutcome => ({
  class: kind === 'not_sent' ? 'transient' : 'unknown',
  reason,
});

/**
 * What the status of an answer that did not accept says, where a provider means nothing else by it. A gateway's 502 or 504 may
 * hide an acceptance, and what is not listed nobody foresaw: both unknown.
 */
export function classOfStatus(status: number): 'permanent' | 'configuration' | 'transient' | 'unknown' {
  switch (status) {
    case 400:
    case 413:
      return 'permanent';
    // The path is always the same: one that is not there comes from a wrong base URL.
    case 401:
    case 403:
    case 404:
    case 405:
      return 'configuration';
    case 429:
    case 500:
    case 503:
      return 'transient';
    default:
      return 'unknown';
  }
}

/**
 * Reads a Retry-After header, seconds or a date (RFC 9110, section 10.2.3).
 * @returns whole seconds from `now`, at least 0; undefined when there is no such header or it says nothing
 */
export function parseRetryAfter(header: string | undefined, now: Date = new Date()): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text);
  // A date has letters; Date.parse would take numbers such as -5 for years.
  const at = /^[A-Za-z]/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - now.getTime()) / 1_000));
}
