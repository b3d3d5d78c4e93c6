import { timingSafeEqual } from 'node:crypto';
import { digestOfKey } from '../../platform/api-key.ts';
import { readBearer } from '../../platform/credentials.ts';
import type { WebhookRequest } from './webhook.ts';

/** Why a request doesn't hold a shared secret as `Authorization: Bearer`, or null. Takes as long for every wrong one. */
export const createBearerCheck = (secret: string, variable: string) => {
  const expected = digestOfKey(secret);
  return ({ headers }: WebhookRequest): string | null => {
    const given = readBearer(headers.authorization ?? '');
    return given !== null && timingSafeEqual(digestOfKey(given), expected)
      ? null
      : `send the header authorization: Bearer <${variable}>`;
  };
};
