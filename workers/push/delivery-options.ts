import { createHash } from 'node:crypto';

/** Four weeks: the longest that FCM and OneSignal keep a message, and what FCM does when told nothing. */
const MAX_TTL_SECONDS = 28 * 24 * 60 * 60;

/** How long a push service keeps the message for a device that is away, whole seconds. */
export const toTtlSeconds = (ttlSeconds: number | null): number =>
  Math.min(Math.max(0, Math.floor(ttlSeconds ?? MAX_TTL_SECONDS)), MAX_TTL_SECONDS);

/** Messages of one topic replace each other at a push service: at most 32 characters of base64url (RFC 8030, section 5.4). */
export const toTopic = (collapseKey: string): string =>
  /^[A-Za-z0-9_-]{1,32}$/.test(collapseKey) ? collapseKey : hash(collapseKey).toString('base64url').slice(0, 32);

/** The same at Apple: at most 64 bytes (apns-collapse-id). */
export const toCollapseId = (collapseKey: string): string =>
  Buffer.byteLength(collapseKey) <= 64 ? collapseKey : hash(collapseKey).toString('hex');

const hash = (text: string) => createHash('sha256').update(text).digest();
