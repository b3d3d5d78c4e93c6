import { z } from 'zod';
import type { PushTokenKind } from '../../contracts/message.ts';
import { faultOfLine, isUuid } from '../../platform/text.ts';

/** What a browser's `PushSubscription.toJSON()` gives (W3C Push API). */
const subscriptionSchema = z.object({
  endpoint: z.url({ protocol: /^https$/ }),
  keys: z.object({ p256dh: z.string().min(1), auth: z.string().min(1) }),
});

/** How a device with this token is reached: a PushSubscription by Web Push, a UUID by OneSignal, anything else by FCM. */
export function kindOfToken(token: string): PushTokenKind {
  if (token.trimStart().startsWith('{')) return 'webpush';
  return isUuid(token) ? 'onesignal' : 'fcm';
}

/** What is wrong with a push token; null when nothing is. */
export function faultOfToken(token: string): string | null {
  const fault = faultOfLine(token, { max: 4_096 });
  if (fault !== null || kindOfToken(token) !== 'webpush') return fault;
  return subscriptionSchema.safeParse(toJson(token)).success
    ? null
    : 'must be a PushSubscription as JSON, with an https endpoint and the keys p256dh and auth';
}

function toJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
