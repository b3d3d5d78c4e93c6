import { createPublicKey } from 'node:crypto';
import { z } from 'zod';
import type { FeedbackProvider } from './feedback.ts';

/** The variable that holds the key of each webhook; without it the webhook is closed. */
export const WEBHOOK_VARIABLES = {
  sendgrid: 'SENDGRID_WEBHOOK_PUBLIC_KEY',
  mailgun: 'MAILGUN_WEBHOOK_SIGNING_KEY',
  onesignal: 'ONESIGNAL_WEBHOOK_SECRET',
  bounces: 'BOUNCE_WEBHOOK_SECRET',
} as const satisfies Record<FeedbackProvider, string>;

/** The keys; null where a webhook is closed. */
export type WebhookKeys = Record<FeedbackProvider, string | null>;

/** @param secret the rule for shared secrets: these are sent in a header too */
export const webhookKeyVariables = (secret: (what: string) => z.ZodString) => ({
  SENDGRID_WEBHOOK_PUBLIC_KEY: z
    .string()
    .refine(isP256Key, "must be the verification key as SendGrid's Event Webhook settings show it, in base64")
    .optional(),
  MAILGUN_WEBHOOK_SIGNING_KEY: z.string().optional(),
  ONESIGNAL_WEBHOOK_SECRET: secret('what OneSignal shows').optional(),
  BOUNCE_WEBHOOK_SECRET: secret('what returned mails are posted with').optional(),
});

export const toWebhookKeys = (
  vars: Partial<Record<(typeof WEBHOOK_VARIABLES)[FeedbackProvider], string>>,
): WebhookKeys => ({
  sendgrid: vars.SENDGRID_WEBHOOK_PUBLIC_KEY ?? null,
  mailgun: vars.MAILGUN_WEBHOOK_SIGNING_KEY ?? null,
  onesignal: vars.ONESIGNAL_WEBHOOK_SECRET ?? null,
  bounces: vars.BOUNCE_WEBHOOK_SECRET ?? null,
});

function isP256Key(text: string): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
  } catch {
    return false;
  }
}
