import { timingSafeEqual } from 'node:crypto';
import { digestOfKey, looksLikeApiKey } from './api-key.ts';
import { toRing } from './secret-ring.ts';
import { looksLikeToken } from './tokens.ts';
import type { Viewer } from './trust.ts';

/** Credentials known to this process, a ring of them (secret-ring.ts), and who they stand for. */
export type LocalKeys = { keys: string; viewer: Viewer };

type FindViewer = (credential: string) => Promise<Viewer | null>;

/**
 * Turns a request's credential (`Authorization: Bearer …` or `X-API-Key`) into a viewer; null when there is none or it is
 * not known. Rejects when nobody can say.
 * @param others.findKey says whose key it is, of those that are not known here
 * @param others.verifyToken says whose access token it is
 */
export const createAuthenticator = (
  known: LocalKeys[],
  {
    findKey = async () => null,
    verifyToken = async () => null,
  }: { findKey?: FindViewer; verifyToken?: FindViewer } = {},
) => {
  const digests = known.flatMap(({ keys, viewer }) =>
    toRing(keys).map(({ secret }) => ({ digest: digestOfKey(secret), viewer })),
  );
  return async (headers: Record<string, string | string[] | undefined>): Promise<Viewer | null> => {
    const credential = readCredential(headers);
    if (credential === null) return null;
    const digest = digestOfKey(credential);
    const key = digests.find((one) => timingSafeEqual(one.digest, digest));
    if (key !== undefined) return key.viewer;
    if (looksLikeApiKey(credential)) return findKey(credential);
    return looksLikeToken(credential) ? verifyToken(credential) : null;
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
