import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { malformed, parseJson, toFeedback, toNotificationId, uuidOrNull, type Told, type Webhook } from './webhook.ts';

/**
 * Mailgun repeats for 8 hours what it got no answer for, and is said to send the first signature again (PostHog/posthog#103057).
 * A token counts once in 30 days, so an old one does no harm; a lost one would.
 */
const MAX_AGE_MS = 9 * 3_600_000;
const SKEW_MS = 10 * 60_000;

/**
 * Mailgun's webhooks: HMAC-SHA256, hex, over timestamp and token, with the account's webhook signing key
 * (documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks).
 */
export const createMailgunWebhook = (signingKey: string): Webhook => ({
  faultOf({ body }, now) {
    const parsed = signedSchema.safeParse(parseJson(body));
    if (!parsed.success) return 'the request is not signed';
    const { timestamp, token, signature } = parsed.data.signature;
    const expected = createHmac('sha256', signingKey).update(timestamp).update(token).digest();
    const given = Buffer.from(signature, 'hex');
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      return 'the signature does not fit MAILGUN_WEBHOOK_SIGNING_KEY';
    const ageMs = now.getTime() - Number(timestamp) * 1_000;
    return ageMs < MAX_AGE_MS && ageMs > -SKEW_MS ? null : 'the signature is too old, or from the future';
  },

  parse(body) {
    const parsed = bodySchema.safeParse(parseJson(body));
    if (!parsed.success) return malformed('the body must be JSON with signature and event-data');
    return toFeedback('mailgun', [toTold(parsed.data)]);
  },
});

const signedSchema = z.looseObject({
  signature: z.looseObject({ timestamp: z.string(), token: z.string(), signature: z.string() }),
});

const bodySchema = signedSchema.extend({
  'event-data': z.looseObject({
    event: z.string(),
    recipient: z.string().optional(),
    timestamp: z.number().optional(),
    severity: z.string().optional(),
    reason: z.string().optional(),
    'user-variables': z.record(z.string(), z.unknown()).optional(),
    message: z.looseObject({ headers: z.looseObject({ 'message-id': z.string().optional() }).optional() }).optional(),
    'delivery-status': z.looseObject({ message: z.string().optional(), description: z.string().optional() }).optional(),
  }),
});

function toTold({ signature, 'event-data': event }: z.infer<typeof bodySchema>): Told | null {
  const status = event['delivery-status'];
  const messageId = event.message?.headers?.['message-id'];
  const base = {
    // Not the event's own id: the signature is over the token and not over the event, so a token must not count twice.
    eventId: signature.token,
    notificationId: uuidOrNull(event['user-variables']?.['notification_id']) ?? toNotificationId(messageId),
    providerMessageId: messageId,
    address: event.recipient ?? null,
    reason: status?.message || status?.description || event.reason,
    at: (event.timestamp ?? NaN) * 1_000,
  };
  switch (event.event) {
    case 'delivered':
      return { ...base, kind: 'delivered' };
    case 'failed':
      if (event.severity !== 'permanent') return { ...base, kind: 'deferred' };
      // Other reasons (`old`, `generic`, `espblock`) speak of the message or of the way.
      return {
        ...base,
        kind: 'bounced',
        isPermanent: true,
        isAddressDead: ['bounce', 'suppress-bounce', 'suppress-complaint'].includes(event.reason ?? ''),
      };
    case 'complained':
      return { ...base, kind: 'complained' };
    case 'unsubscribed':
      return { ...base, kind: 'unsubscribed' };
    default:
      return null;
  }
}
