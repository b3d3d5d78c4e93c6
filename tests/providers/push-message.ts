import type { DeviceMessage, PushToken } from '../../contracts/message.ts';

/** A message with everything in it, to one device. */
export const toPushMessage = (token: PushToken, changes: Partial<DeviceMessage> = {}): DeviceMessage => ({
  type: 'push',
  token,
  ...CONTENT,
  ttlSeconds: 3_600,
  collapseKey: 'order-7',
  ...changes,
});

export const CONTENT = {
  title: 'Ihr Paket 📦 ist da',
  body: 'Größe: 42 × 30 cm\n„Grüße“ — こんにちは',
  image: 'https://img.example.com/p.png',
  link: 'https://shop.example.com/orders/7?a=1&b=ü',
  data: { order: 7, note: 'schön', nested: { ok: true } },
};

/** A signal that is never aborted. */
export const NEVER = new AbortController().signal;
