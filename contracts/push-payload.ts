import type { PushMessage, PushTokenKind } from './message.ts';

/** The part of a push message that is the same for all of its devices. */
export type PushContent = Omit<PushMessage, 'tokens'>;

/**
 * Bytes that a push service takes. `fcm`: keys and values of a message (firebase.google.com, ErrorCode). `webpush`: what
 * fits into one record of 4,096 bytes beside its header, tag and delimiter (RFC 8291, section 4). `onesignal`: `data` alone
 * (documentation.onesignal.com, OSNotification payload).
 */
export const PUSH_PAYLOAD_LIMIT_BYTES = { fcm: 4_096, webpush: 3_993, onesignal: 2_048 } as const;

/** Says in a sentence how much too large the message is for devices of this kind; null when it fits. */
export function faultOfPayload(content: PushContent, kind: PushTokenKind): string | null {
  const bytes = Buffer.byteLength(measured(content, kind));
  const limit = PUSH_PAYLOAD_LIMIT_BYTES[kind];
  return bytes <= limit
    ? null
    : `${MEASURED_NAMES[kind]} is ${bytes} bytes, more than the ${limit} bytes that ${KIND_NAMES[kind]} takes`;
}

/** What the service worker of a web page reads, as JSON; what the message lacks is left out. `tag` is its collapse key. */
export const toWebPushPayload = ({ title, body, image, link, data, collapseKey }: PushContent): string =>
  JSON.stringify({
    title,
    body,
    ...(image !== null && { image }),
    ...(link !== null && { link }),
    ...(collapseKey !== null && { tag: collapseKey }),
    ...(data !== null && { data }),
  });

/** FCM carries texts only: every other value of `data` goes as JSON. The link is among them, for native apps to read. */
export function toFcmPayload({ title, body, image, link, data }: PushContent): FcmPayload {
  const texts = Object.entries(data ?? {}).map(([key, value]): [string, string] => [
    key,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  return {
    notification: { title, body, ...(image !== null && { image }) },
    data: { ...(link !== null && { link }), ...Object.fromEntries<string>(texts) },
  };
}

export type FcmPayload = {
  notification: { title: string; body: string; image?: string };
  data: Record<string, string>;
};

function measured(content: PushContent, kind: PushTokenKind): string {
  switch (kind) {
    case 'fcm':
      return JSON.stringify(toFcmPayload(content));
    case 'webpush':
      return toWebPushPayload(content);
    case 'onesignal':
      return content.data === null ? '' : JSON.stringify(content.data);
  }
}

const MEASURED_NAMES = {
  fcm: 'the push message',
  webpush: 'the push message',
  onesignal: 'the data of the push message',
};
const KIND_NAMES = { fcm: 'FCM', webpush: 'Web Push', onesignal: 'OneSignal' };
