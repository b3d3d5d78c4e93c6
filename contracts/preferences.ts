import { z } from 'zod';

/**
 * What a worker must know of a user at send time, as it lies in the cache under `preferencesKey`. Only the user service
 * writes it. `deleted` is a tombstone.
 */
export const cachedPreferencesSchema = z.union([
  z.strictObject({ deleted: z.literal(true) }),
  z.strictObject({ email: z.boolean(), push: z.boolean(), contactVersion: z.int() }),
]);
export type CachedPreferences = z.infer<typeof cachedPreferencesSchema>;

export const preferencesKey = (prefix: string, userId: string) => `${prefix}herald:preferences:${userId}`;

/** The longest that a switched-off preference can go unseen when the user service's write to the cache is lost. */
export const PREFERENCES_TTL_MS = 5 * 60_000;

/** A deleted user's tombstone outlives every job that may still name them for long. */
export const TOMBSTONE_TTL_MS = 24 * 3_600_000;
