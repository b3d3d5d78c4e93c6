import { createHash, timingSafeEqual } from 'node:crypto';
import { looksLikeToken } from './tokens.ts';
import type { Viewer } from './trust.ts';

/** A credential known to this process, and who it stands for. */
export type LocalKey = { key: string; viewer: Viewer };

/**
 * Turns a request's credential (`Authorization: Bearer …` or `X-API-Key`) into a viewer; null when there is none or it is
 * not known.
 * @param verifyToken says whose access token it is
 */
export const createAuthenticator = (
  keys: LocalKey[],
  verifyToken: (token: string) => Promise<Viewer | null> = async () => null,
) => {
  const digests = keys.map(({ key, viewer }) => ({ digest: digestOf(key), viewer }));
  return async (headers: Record<string, string | string[] | undefined>): Promise<Viewer | null> => {
    const credential = readCredential(headers);
    if (credential === null) return null;
    const digest = digestOf(credential);
    const key = digests.find((known) => timingSafeEqual(known.digest, digest));
    return key?.viewer ?? (looksLikeToken(credential) ? verifyToken(credential) : null);
  };
};

export type Authenticate = ReturnType<typeof createAuthenticator>;

export function readCredential(headers: Record<string, string | string[] | undefined>): string | null {
  const { authorization, 'x-api-key': apiKey } = headers;
  if (typeof authorization === 'string') return readBearer(authorization);
  return typeof apiKey === 'string' && apiKey !== '' ? apiKey : null;
}

/** The credential in an `Authorization: Bearer …` header; null when it is none. */
export const readBearer = (authorization: string): string | null => /^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? null;

/** Equal lengths for timingSafeEqual. */
export const digestOf = (text: string) => createHash('sha256').update(text).digest();
