import { setTimeout as wait } from 'node:timers/promises';
import { USER_SERVICE } from '../../contracts/scopes.ts';
import type { Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import type { ServiceClient } from '../../platform/service-client.ts';
import type { PreferencesCache } from './cache-preferences.ts';
import type { OutboxRow, UserStore } from './store.ts';

const POLL_MS = 1_000;
const BATCH = 50;
/** After one that could not be told. */
const POSTPONE_MS = 5_000;

/**
 * Starts telling others of changed and deleted users: the cache, and the notification service, which cancels and erases. The rows
 * were written with the change itself and go only when everybody has heard, however long somebody was away.
 */
export function startTellingOthers(deps: {
  store: UserStore;
  preferences: PreferencesCache;
  notifications: ServiceClient;
  log: Logger;
}): Running & { wake(): void } {
  const { store, preferences, notifications, log } = deps;
  let stopped = false;
  let alarm = new AbortController();

  const tell = async ({ kind, userId, version }: OutboxRow): Promise<void> => {
    if (kind === 'deleted') {
      await preferences.bury(userId, version);
      const { errors } = await notifications.graphql(
        { query: 'mutation Erase($userId: ID!) { eraseUser(userId: $userId) }', variables: { userId } },
        { viewer: USER_SERVICE, requestId: `erase-${userId}` },
      );
      if (errors?.[0] !== undefined) throw new Error(`the notification service answered: ${errors[0].message}`);
      return;
    }
    const user = await store.findUser(userId);
    if (user !== null) await preferences.write(user);
  };

  const loop = (async () => {
    while (!stopped) {
      let told = 0;
      try {
        told = await store.takeDue(BATCH, POSTPONE_MS, (row) =>
          tell(row).then(
            () => true,
            (error: unknown) => {
              log.warn(
                { err: error, userId: row.userId, kind: row.kind },
                'somebody could not be told of a user; it is tried again in 5 s',
              );
              return false;
            },
          ),
        );
      } catch (error) {
        log.error({ err: error }, 'the outbox of users_db could not be read; the next try follows');
      }
      if (told === BATCH) continue;
      await wait(POLL_MS, undefined, { signal: alarm.signal }).catch(() => {});
      if (alarm.signal.aborted) alarm = new AbortController();
    }
  })();

  return {
    wake: () => alarm.abort(),
    async stop() {
      stopped = true;
      alarm.abort();
      await loop;
    },
  };
}
