import type { TokenMessage } from 'firebase-admin/messaging';
import type { DeviceMessage } from '../../contracts/message.ts';
import { toFcmPayload } from '../../contracts/push-payload.ts';
import { toCollapseId, toTopic, toTtlSeconds } from './delivery-options.ts';

/**
 * The message as firebase-admin takes it, with what each platform has its own name for.
 * @param now for Apple, which wants a time of expiry
 */
export function toFcmMessage(message: DeviceMessage, now: Date = new Date()): TokenMessage {
  const { image, link, collapseKey, ttlSeconds } = message;
  const { notification, data } = toFcmPayload(message);
  const ttl = ttlSeconds === null ? null : toTtlSeconds(ttlSeconds);
  const isWebLink = link?.startsWith('https://') === true;
  return {
    token: message.token.token,
    notification: { title: notification.title, body: notification.body, ...(image !== null && { imageUrl: image }) },
    data,
    android: {
      ...(collapseKey !== null && { collapseKey }),
      ...(ttl !== null && { ttl: ttl * 1_000 }),
    },
    apns: {
      headers: {
        ...(collapseKey !== null && { 'apns-collapse-id': toCollapseId(collapseKey) }),
        // 0: once and never again.
        ...(ttl !== null && { 'apns-expiration': String(ttl === 0 ? 0 : Math.floor(now.getTime() / 1_000) + ttl) }),
      },
      // An iOS app fetches the image in its notification extension, which only a mutable message wakes.
      ...(image !== null && { payload: { aps: { mutableContent: true } }, fcmOptions: { imageUrl: image } }),
    },
    webpush: {
      headers: {
        ...(collapseKey !== null && { Topic: toTopic(collapseKey) }),
        ...(ttl !== null && { TTL: String(ttl) }),
      },
      // FCM refuses any other scheme here; such a link is still in the data.
      ...(isWebLink && { fcmOptions: { link } }),
    },
  };
}
