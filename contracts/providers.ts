import type { NotificationType } from './jobs.ts';

/** Every provider, by the name that EMAIL_PROVIDERS and PUSH_PROVIDERS know it by. */
export const PROVIDERS = {
  email: ['smtp', 'sendgrid', 'mailgun', 'gmail'],
  push: ['fcm', 'webpush', 'onesignal', 'sandbox'],
} as const satisfies Record<NotificationType, readonly string[]>;
