import { createHash, createPublicKey, verify } from 'node:crypto';
import { z } from 'zod';
import { malformed, parseJson, toFeedback, toNotificationId, uuidOrNull, type Told, type Webhook } from './webhook.ts';

/**
 * SendGrid repeats for 24 hours what it got no answer for, and does not say whether it signs again. The signature covers the body
 * and an event counts once in 30 days, so an old one does no harm; a lost one would.
 */
const MAX_AGE_MS = 25 * 3_600_000;
const SKEW_MS = 10 * 60_000;

/**
 * SendGrid's Event Webhook, signed: ECDSA on P-256 with SHA-256 over the timestamp and the raw body
 * (twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features).
 * @param publicKey base64 of the DER, as its settings show it
 */
export function createSendgridWebhook(publicKey: string): Webhook {
  const key = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' });
  return {
    faultOf({ headers, body }, now) {
      const signature = headers['x-twilio-email-event-webhook-signature'];
      const timestamp = headers['x-twilio-email-event-webhook-timestamp'];
      if (typeof signature !== 'string' || typeof timestamp !== 'string') return 'the request is not signed';
      const isSigned = verify(
        'sha256',
        Buffer.concat([Buffer.from(timestamp), body]),
        key,
        Buffer.from(signature, 'base64'),
      );
      if (!isSigned) return 'the signature does not fit the request and SENDGRID_WEBHOOK_PUBLIC_KEY';
      const ageMs = now.getTime() - Number(timestamp) * 1_000;
      return ageMs < MAX_AGE_MS && ageMs > -SKEW_MS ? null : 'the signature is too old, or from the future';
    },

    parse(body) {
      const items = parseJson(body);
      if (!Array.isArray(items)) return malformed('the body must be a JSON array of events');
      return toFeedback('sendgrid', items.map(toTold));
    },
  };
}

const eventSchema = z.looseObject({
  event: z.string(),
  email: z.string(),
  timestamp: z.number(),
  sg_message_id: z.string().optional(),
  'smtp-id': z.string().optional(),
  reason: z.string().optional(),
  response: z.string().optional(),
  status: z.string().optional(),
  type: z.string().optional(),
  attempt: z.union([z.string(), z.number()]).optional(),
});

function toTold(item: unknown): Told | null {
  const parsed = eventSchema.safeParse(item);
  if (!parsed.success) return null;
  const event = parsed.data;
  const base = {
    eventId: toEventId(event),
    // A custom argument, beside the event's own fields; by SMTP there is only the Message-ID.
    notificationId: uuidOrNull(event['notification_id']) ?? toNotificationId(event['smtp-id']),
    providerMessageId: event.sg_message_id,
    address: event.email,
    reason: event.reason ?? event.response,
    at: event.timestamp * 1_000,
  };
  switch (event.event) {
    case 'delivered':
      return { ...base, kind: 'delivered' };
    case 'deferred':
      return { ...base, kind: 'deferred' };
    case 'bounce':
      // `blocked`: this message was refused, the address may be fine.
      return { ...base, kind: 'bounced', isPermanent: true, isAddressDead: event.type !== 'blocked' };
    case 'dropped':
      // SendGrid did not even try; of its reasons these speak of the address.
      return {
        ...base,
        kind: 'bounced',
        isPermanent: true,
        isAddressDead: /^(bounced|invalid|spam reporting)/i.test(event.reason ?? ''),
      };
    case 'spamreport':
      return { ...base, kind: 'complained' };
    case 'unsubscribe':
    case 'group_unsubscribe':
      return { ...base, kind: 'unsubscribed' };
    default:
      return null;
  }
}

/** `sg_event_id` is another in a repeat of the same event (sendgrid/sendgrid-nodejs#1435), so it can't tell repeats. */
const toEventId = ({ event, email, timestamp, sg_message_id, attempt }: z.infer<typeof eventSchema>): string =>
  createHash('sha256')
    .update(JSON.stringify([event, email, timestamp, sg_message_id, attempt]))
    .digest('base64url');
