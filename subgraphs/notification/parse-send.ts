import { createHash } from 'node:crypto';
import type { NotificationType } from '../../contracts/jobs.ts';
import { refuse, refuseFaults, type Fault, type Refusal } from '../../platform/refusal.ts';
import { badStringIn, faultOfLine, faultOfLocale, isUuid } from '../../platform/text.ts';
import type { SendNotificationInput } from './generated/graphql.ts';

/** A send whose every field is within its bounds. */
export type ParsedSend = {
  kind: 'send';
  type: NotificationType;
  userId: string;
  templateCode: string;
  variables: Record<string, unknown>;
  requestId: string;
  priority: number;
  metadata: Record<string, unknown>;
  locale: string | null;
  sendAt: Date | null;
  expiresAt: Date | null;
  onAmbiguous: 'resend' | 'fail';
  /** SHA-256, hex, over what the caller set: the same requestId with another hash is a conflict. */
  hash: string;
};

const DEFAULT_PRIORITY = 5;
const YEAR_MS = 366 * 24 * 3_600_000;

/** Checks a send, or refuses it with every faulty field named. */
export function parseSend(input: SendNotificationInput): ParsedSend | Refusal {
  const [first, ...others] = faultsOf(input);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);
  return {
    kind: 'send',
    type: input.notificationType === 'EMAIL' ? 'email' : 'push',
    userId: input.userId.toLowerCase(),
    templateCode: input.templateCode,
    variables: input.variables ?? {},
    requestId: input.requestId,
    priority: input.priority ?? DEFAULT_PRIORITY,
    metadata: input.metadata ?? {},
    locale: input.locale ?? null,
    sendAt: input.sendAt ?? null,
    expiresAt: input.expiresAt ?? null,
    onAmbiguous: input.onAmbiguous === 'FAIL' ? 'fail' : 'resend',
    hash: hashOf(input),
  };
}

/**
 * What a new send's times have against the present. A repeat of an accepted one is answered before this is asked.
 */
export function faultOfTimes({ sendAt, expiresAt }: ParsedSend, now: Date): Refusal | null {
  if (sendAt !== null && sendAt.getTime() > now.getTime() + YEAR_MS) {
    return refuse('BAD_USER_INPUT', 'sendAt must be at most one year ahead', 'sendAt', 'INVALID');
  }
  if (expiresAt !== null && expiresAt <= (sendAt !== null && sendAt > now ? sendAt : now)) {
    const message = 'expiresAt must be later than now, and later than the moment to send at';
    return refuse('BAD_USER_INPUT', message, 'expiresAt', 'INVALID');
  }
  return null;
}

function faultsOf(input: SendNotificationInput): Fault[] {
  const { priority, locale } = input;
  const faults: Record<string, string | null> = {
    requestId: faultOfLine(input.requestId, { max: 255 }),
    userId: isUuid(input.userId) ? null : 'must be a UUID',
    templateCode: faultOfLine(input.templateCode, { max: 200 }),
    priority: priority == null || (priority >= 1 && priority <= 10) ? null : 'must be a number from 1 to 10',
    locale: locale == null ? null : faultOfLocale(locale),
    sendAt: faultOfMoment(input.sendAt),
    expiresAt: faultOfMoment(input.expiresAt),
  };
  const bad = badStringIn(input.variables ?? {}, 'variables') ?? badStringIn(input.metadata ?? {}, 'metadata');
  if (bad !== null) faults[bad] = 'must be valid Unicode without NUL';
  return Object.entries(faults).flatMap(([field, fault]) =>
    fault === null ? [] : [{ field, code: 'INVALID', message: `${field} ${fault}` }],
  );
}

/** RFC 3339 has a year 0, PostgreSQL has none. */
export function faultOfMoment(moment: Date | null | undefined): string | null {
  const year = moment?.getUTCFullYear() ?? 1;
  return year >= 1 && year <= 9_999 ? null : 'must lie in the years 1 to 9999';
}

/** Over the fields that are set, keys sorted at every depth: spelling and order don't matter. */
const hashOf = (input: SendNotificationInput): string => createHash('sha256').update(canonical(input)).digest('hex');

function canonical(value: unknown): string {
  if (value instanceof Date) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value).filter(([, item]) => item !== undefined && item !== null);
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`)
    .join(',')}}`;
}
