import type { IncomingHttpHeaders } from 'node:http';
import { feedbackEventSchema, type FeedbackEvent, type FeedbackProvider } from '../../contracts/feedback.ts';
import { isUuid, toStorable } from '../../platform/text.ts';

/** One provider's way of telling what became of messages. */
export type Webhook = {
  /** Why a request is not the provider's, in a sentence; null when it is. */
  faultOf(request: WebhookRequest, now: Date): string | null;
  parse(body: Buffer): Feedback | Malformed;
};

export type WebhookRequest = { headers: IncomingHttpHeaders; body: Buffer };

/** `ignored`: what says nothing that we keep, such as an opened mail. */
export type Feedback = { kind: 'feedback'; events: FeedbackEvent[]; ignored: number };
export type Malformed = { kind: 'malformed'; detail: string };

export const malformed = (detail: string): Malformed => ({ kind: 'malformed', detail });

/** What a provider told, before it is cut to our bounds. `at`: milliseconds, or NaN when it did not say. */
export type Told = Pick<FeedbackEvent, 'kind' | 'eventId' | 'address' | 'notificationId'> & {
  isPermanent?: boolean;
  isAddressDead?: boolean;
  providerMessageId?: string | undefined;
  reason?: string | undefined;
  at: number;
};

/** What was told as events; null entries are ignored, and so is one without what an event must have. */
export function toFeedback(provider: FeedbackProvider, told: (Told | null)[]): Feedback {
  const events = told.flatMap((one) => {
    const parsed = one === null ? null : feedbackEventSchema.safeParse(toEvent(provider, one));
    return parsed?.success ? [parsed.data] : [];
  });
  return { kind: 'feedback', events, ignored: told.length - events.length };
}

const toEvent = (provider: FeedbackProvider, { at, providerMessageId, reason, ...told }: Told): FeedbackEvent => ({
  isPermanent: false,
  isAddressDead: false,
  ...told,
  address: told.address || null,
  provider,
  providerMessageId: providerMessageId === undefined ? null : toStorable(providerMessageId).slice(0, 1_000),
  // One line: it stands in a list beside others.
  reason: reason === undefined ? null : toStorable(reason).replace(/\s+/g, ' ').trim().slice(0, 1_000),
  // A date that can't be one would refuse the whole event.
  at: new Date(Math.abs(at) < 8.64e15 ? at : Date.now()).toISOString(),
});

/** The id of the notification that a Message-ID of ours was made of: `<id@domain>`, with or without the brackets. */
export function toNotificationId(messageId: unknown): string | null {
  const id = typeof messageId === 'string' ? /^<?([^<>@\s]+)@/.exec(messageId.trim())?.[1] : undefined;
  return id !== undefined && isUuid(id) ? id : null;
}

/** Our id as a provider gives it back, or null. */
export const uuidOrNull = (value: unknown): string | null =>
  typeof value === 'string' && isUuid(value) ? value : null;

/** The body as JSON; undefined when it is none. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
