import { cachedPreferencesSchema, preferencesKey } from '../contracts/preferences.ts';
import { toLiveTokens, type PushToken } from '../contracts/message.ts';
import { WORKER } from '../contracts/scopes.ts';
import { createBatcher } from '../platform/batch.ts';
import type { Cache } from '../platform/cache/cache.ts';
import type { Logger } from '../platform/logger.ts';
import type { ServiceClient } from '../platform/service-client.ts';

/** Whether a user may be written to, and since which version of their addresses. */
export type Preferences =
  { kind: 'known'; email: boolean; push: boolean; contactVersion: number } | { kind: 'gone' } | { kind: 'unknowable' };

/** Where a user is reached now. */
export type Contact = { email: string | null; pushTokens: PushToken[] };

export type PreferencesReader = ReturnType<typeof createPreferencesReader>;

/** Reads preferences from the cache, on a miss from the user service, which then fills the cache. */
export function createPreferencesReader({
  cache,
  prefix,
  users,
  log,
}: {
  cache: Cache;
  prefix: string;
  users: ServiceClient;
  log: Logger;
}) {
  const askUserService = createBatcher(
    async (ids: string[]): Promise<(UserEntity | null)[]> => {
      const { data, errors } = await users.graphql(
        { query: ENTITIES, variables: { representations: ids.map((id) => ({ __typename: 'User', id })) } },
        { viewer: WORKER, requestId: `worker-${Date.now()}` },
      );
      const [error] = errors ?? [];
      if (error !== undefined) throw new Error(`the user service answered: ${error.message}`);
      return data?.['_entities'] as (UserEntity | null)[];
    },
    { maxItems: 100, maxInFlight: 8 },
  );

  const readCache = async (userId: string): Promise<Preferences | null> => {
    try {
      const text = await cache.get(preferencesKey(prefix, userId));
      if (text === null) return null;
      const cached = cachedPreferencesSchema.parse(JSON.parse(text));
      return 'deleted' in cached ? { kind: 'gone' } : { kind: 'known', ...cached };
    } catch (error) {
      log.warn({ err: error, userId }, 'the preference cache gave no answer; asking the user service');
      return null;
    }
  };

  return {
    /** Never a guess: `unknowable` when neither the cache nor the user service answers. */
    async read(userId: string): Promise<Preferences> {
      const cached = await readCache(userId);
      if (cached !== null) return cached;
      try {
        const user = await askUserService(userId);
        return user === null
          ? { kind: 'gone' }
          : { kind: 'known', ...user.preferences, contactVersion: user.contactVersion };
      } catch (error) {
        log.warn({ err: error, userId }, 'preferences are unknowable: neither the cache nor the user service answers');
        return { kind: 'unknowable' };
      }
    },

    /** Null when the user is gone. @throws ServiceUnavailable */
    async readContact(userId: string): Promise<Contact | null> {
      const user = await askUserService(userId);
      return user && { email: user.email, pushTokens: toLiveTokens(user.pushTokens) };
    },
  };
}

const ENTITIES = `
  query Contacts($representations: [_Any!]!) {
    _entities(representations: $representations) {
      ... on User { email pushTokens { id kind token deadAt } contactVersion preferences { email push } }
    }
  }`;

type UserEntity = {
  email: string | null;
  pushTokens: Parameters<typeof toLiveTokens>[0];
  contactVersion: number;
  preferences: { email: boolean; push: boolean };
};
