import { createHash, randomBytes } from 'node:crypto';

/** A key of a client: `hk_`, eight characters by which people know it, and 256 random bits. */
const FORM = /^hk_[0-9a-f]{8}_[\w-]{43}$/;

/** @returns the key, to be shown once; what may be shown of it; and what is kept to know it by */
export function createApiKey(): { key: string; prefix: string; digest: Buffer } {
  const prefix = `hk_${randomBytes(4).toString('hex')}`;
  const key = `${prefix}_${randomBytes(32).toString('base64url')}`;
  return { key, prefix, digest: digestOfKey(key) };
}

/** A guess costs nobody a question. */
export const looksLikeApiKey = (credential: string) => FORM.test(credential);

/** SHA-256 is enough for what nobody can guess. */
export const digestOfKey = (key: string): Buffer => createHash('sha256').update(key).digest();

/** Whether a text may be such a digest, in hexadecimal. */
export const isDigest = (text: string) => /^[0-9a-f]{64}$/.test(text);
