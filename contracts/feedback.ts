import { z } from 'zod';
import type { NotificationType } from './jobs.ts';

/** Who tells what became of a message after it was handed over, and on which channel they deliver for us. */
export const FEEDBACK_CHANNELS = {
  sendgrid: 'email',
  mailgun: 'email',
  onesignal: 'push',
  bounces: 'email',
} as const satisfies Record<string, NotificationType>;

export type FeedbackProvider = keyof typeof FEEDBACK_CHANNELS;

export const FEEDBACK_PROVIDERS = Object.keys(FEEDBACK_CHANNELS) as FeedbackProvider[];

export const FEEDBACK_KINDS = ['delivered', 'bounced', 'complained', 'unsubscribed', 'deferred'] as const;
export type FeedbackKind = (typeof FEEDBACK_KINDS)[number];

/** One thing that a provider says of one message, in our words. */
export const feedbackEventSchema = z.strictObject({
  provider: z.enum(FEEDBACK_PROVIDERS),
  /** The same for every repeat of the event, unique for one provider. */
  eventId: z.string().min(1).max(255),
  kind: z.enum(FEEDBACK_KINDS),
  /** The message will not arrive: nobody tries it any more. */
  isPermanent: z.boolean(),
  /** The address is at fault, not the message: nothing that goes there will arrive. */
  isAddressDead: z.boolean(),
  notificationId: z.uuid().nullable(),
  providerMessageId: z.string().max(1_000).nullable(),
  /** The recipient's address, or the device's token. */
  address: z.string().max(4_096).nullable(),
  /** The provider's words. */
  reason: z.string().max(1_000).nullable(),
  at: z.iso.datetime(),
});

export type FeedbackEvent = z.infer<typeof feedbackEventSchema>;

/** Of one `recordFeedback`. */
export const MAX_FEEDBACK = 100;
