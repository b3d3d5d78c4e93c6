import { createSecretKey, type KeyObject } from 'node:crypto';
import { jwtVerify, SignJWT, errors } from 'jose';
import { z } from 'zod';

/** Secrets by id: the first signs, all of them verify. So a new one can be put in front while tokens of the old one still live. */
export type KeyRing = readonly [{ id: string; secret: string }, ...{ id: string; secret: string }[]];

/** The variable `JWT_KEYS`: `id:secret`, several parted by commas, the newest first. */
export const keyRing = z
  .string()
  .transform((text) => text.split(',').map((pair) => cutAtColon(pair.trim())))
  .refine(
    (pairs) => pairs.every(({ id, secret }) => ID.test(id) && secret.length >= 32),
    'must be id:secret with a secret of at least 32 characters; several parted by commas, the newest first',
  )
  .transform((pairs) => pairs as unknown as KeyRing);

/** At the first one: a secret may have colons. */
function cutAtColon(pair: string): { id: string; secret: string } {
  const [id = '', ...rest] = pair.split(':');
  return { id, secret: rest.join(':') };
}

const ID = /^[\w-]{1,40}$/;
const ISSUER = 'herald';

/** Signs a short-lived token for a subject (JWT, HS256; RFC 7519). */
export const createTokenSigner = (keys: KeyRing) => {
  const [{ id, secret }] = keys;
  const key = toKey(secret);
  return (subject: string, lifeSeconds: number): Promise<string> =>
    new SignJWT()
      .setProtectedHeader({ alg: 'HS256', kid: id, typ: 'at+jwt' })
      .setIssuer(ISSUER)
      .setAudience(ISSUER)
      .setSubject(subject)
      .setIssuedAt()
      .setExpirationTime(`${lifeSeconds} s`)
      .sign(key);
};

/** What a token says, once it is believed. */
export type Token = { subject: string; expiresAt: Date };

/** Checks tokens of this ring; null for one that is forged, expired, or of a key that is not in it. */
export const createTokenVerifier = (keys: KeyRing) => {
  const known = new Map(keys.map(({ id, secret }) => [id, toKey(secret)]));
  return async (token: string): Promise<Token | null> => {
    try {
      const { payload } = await jwtVerify(
        token,
        ({ kid }) => {
          const key = known.get(kid ?? '');
          if (key === undefined) throw new errors.JWSInvalid('a key that is not known here');
          return key;
        },
        // Whatever the token says of its own algorithm.
        { algorithms: ['HS256'], issuer: ISSUER, audience: ISSUER, typ: 'at+jwt', requiredClaims: ['sub', 'exp'] },
      );
      return { subject: payload.sub ?? '', expiresAt: new Date((payload.exp ?? 0) * 1_000) };
    } catch (error) {
      if (error instanceof errors.JOSEError) return null;
      throw error;
    }
  };
};

/** Three base64url parts: a JWT and no key of ours. */
export const looksLikeToken = (credential: string) => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(credential);

const toKey = (secret: string): KeyObject => createSecretKey(Buffer.from(secret));
