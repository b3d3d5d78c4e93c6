import { createHash, timingSafeEqual } from 'node:crypto';
import type { WebhookRequest } from './webhook.ts';

/** Why a request doesn't hold a shared secret as `Authorization: Bearer`, or null. Takes as long for every wrong one. */
export const createBearerCheck = (secret: string, variable: string) => {
  const expected = digestOf(secret);
  return ({ headers }: WebhookRequest): string | null => {
    const given = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
    return given !== undefined && timingSafeEqual(digestOf(given), expected)
      ? null
      : `send the header authorization: Bearer <${variable}>`;
  };
};

const digestOf = (text: string) => createHash('sha256').update(text).digest();
