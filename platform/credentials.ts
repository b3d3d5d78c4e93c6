import { createHash, timingSafeEqual } from 'node:crypto';
import type { Viewer } from './trust.ts';

/** A credential known to this process, and who it stands for. */
export type LocalKey = { key: string; viewer: Viewer };

/**
 * Turns a request's credential (`Authorization: Bearer …` or `X-API-Key`) into a viewer; null when there is none or it is
 * not known.
 */
export const createAuthenticator = (keys: LocalKey[]) => {
  const digests = keys.map(({ key, viewer }) => ({ digest: digestOf(key), viewer }));
  return (headers: Record<string, string | string[] | undefined>): Viewer | null => {
    const credential = readCredential(headers);
    if (credential === null) return null;
    const digest = digestOf(credential);
    return digests.find((known) => timingSafeEqual(known.digest, digest))?.viewer ?? null;
  };
};

export type Authenticate = ReturnType<typeof createAuthenticator>;

function readCredential(headers: Record<string, string | string[] | undefined>): string | null {
  const { authorization, 'x-api-key': apiKey } = headers;
  if (typeof authorization === 'string') return /^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? null;
  return typeof apiKey === 'string' && apiKey !== '' ? apiKey : null;
}

/** Equal lengths for timingSafeEqual. */
const digestOf = (text: string) => createHash('sha256').update(text).digest();
