import { createHash } from 'node:crypto';

/** A secret and what it is called by: the beginning of its SHA-256, which tells nothing of it. */
export type RingKey = { id: string; secret: string };

/**
 * Secrets parted by commas: the first signs, all of them verify. So a new one can be given to one process after another: behind the
 * old one first, then before it, then alone.
 */
export function toRing(secrets: string): [RingKey, ...RingKey[]] {
  const [first = '', ...others] = secrets.split(',');
  return [toKey(first), ...others.map(toKey)];
}

const toKey = (secret: string): RingKey => ({
  id: createHash('sha256').update(secret).digest('hex').slice(0, 8),
  secret,
});
