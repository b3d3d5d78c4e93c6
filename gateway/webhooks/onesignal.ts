import { z } from 'zod';
import { createBearerCheck } from './bearer.ts';
import { malformed, parseJson, toFeedback, uuidOrNull, type Told, type Webhook } from './webhook.ts';

/**
 * OneSignal's Event Streams. They sign nothing: the account's owner gives each stream its headers and a Liquid template for its
 * body, so the stream carries a shared secret, and the fields of OneSignal's own example under their own names
 * (documentation.onesignal.com/docs/en/event-streams-data; docs/protocol.md has the template).
 */
export const createOnesignalWebhook = (secret: string): Webhook => ({
  faultOf: createBearerCheck(secret, 'ONESIGNAL_WEBHOOK_SECRET'),

  parse(body) {
    const parsed = eventSchema.safeParse(parseJson(body));
    if (!parsed.success)
      return malformed('the body must be JSON with event.kind and event.id: see the template in docs/protocol.md');
    return toFeedback('onesignal', [toTold(parsed.data)]);
  },
});

const eventSchema = z.looseObject({
  'event.kind': z.string(),
  'event.id': z.string().min(1),
  // Quoted in the template, so that a missing one leaves the JSON whole.
  'event.timestamp': z.union([z.string(), z.number()]).optional(),
  'event.subscription_id': z.string().optional(),
  'event.data.failure_reason': z.string().optional(),
  'message.id': z.string().optional(),
  'message.name': z.string().optional(),
});

function toTold(event: z.infer<typeof eventSchema>): Told | null {
  const base = {
    eventId: event['event.id'],
    // The name is there when the sender gave one; else the notification is found by the message's id.
    notificationId: uuidOrNull(event['message.name']),
    providerMessageId: event['message.id'] || undefined,
    address: event['event.subscription_id'] || null,
    reason: event['event.data.failure_reason'] || undefined,
    at: Number(event['event.timestamp'] ?? NaN) * 1_000,
  };
  switch (event['event.kind']) {
    case 'message.push.received':
      return { ...base, kind: 'delivered' };
    case 'message.push.failed':
      // One device of perhaps several, for a reason that only people can read.
      return { ...base, kind: 'bounced' };
    case 'message.push.unsubscribed':
      return { ...base, kind: 'unsubscribed' };
    default:
      return null;
  }
}
