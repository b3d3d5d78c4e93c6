import {
  PREFERENCES_TTL_MS,
  preferencesKey,
  TOMBSTONE_TTL_MS,
  type CachedPreferences,
} from '../../contracts/preferences.ts';
import type { Cache } from '../../platform/cache/cache.ts';
import type { Logger } from '../../platform/logger.ts';
import type { UserRow } from './store.ts';

export type PreferencesCache = ReturnType<typeof createPreferencesCache>;

/** Keeps the workers' view of preferences fresh. Only this service writes it; an older version never replaces a newer one. */
export function createPreferencesCache(cache: Cache, prefix: string, log: Logger) {
  const put = (userId: string, version: number, value: CachedPreferences, ttlMs: number) =>
    // Entries written together must not expire together.
    cache.setIfNewer(preferencesKey(prefix, userId), version, JSON.stringify(value), ttlMs * (0.9 + Math.random() / 5));

  /** @throws CacheUnavailable */
  const write = async (user: UserRow): Promise<void> => {
    const value = { email: user.emailEnabled, push: user.pushEnabled, contactVersion: user.contactVersion };
    await put(user.id, versionOf(user), value, PREFERENCES_TTL_MS);
  };

  return {
    write,
    /** The fast path: a cache that is away is logged, because the outbox repairs it. */
    fill: (user: UserRow): Promise<void> =>
      write(user).catch((error: unknown) =>
        log.warn({ err: error, userId: user.id }, 'preferences could not be cached now'),
      ),
    /** Leaves a tombstone: nothing is sent to a deleted user. @throws CacheUnavailable */
    bury: async (userId: string, version: number): Promise<void> => {
      await put(userId, version, { deleted: true }, TOMBSTONE_TTL_MS);
    },
  };
}

/** Either counter rising makes a newer entry. */
export const versionOf = (user: { preferencesVersion: number; contactVersion: number }) =>
  user.preferencesVersion + user.contactVersion;
