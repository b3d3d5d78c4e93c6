import { NOTIFICATION_SERVICE } from '../../contracts/scopes.ts';
import type { Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import { withTransaction, type Pool } from '../../platform/postgres.ts';
import type { ServiceClient } from '../../platform/service-client.ts';

const POLL_MS = 5_000;
const BATCH = 100;

/**
 * Starts telling the user service of push tokens that a provider said are dead. The rows were written with the outcome itself and
 * stay until it has heard; whether it has or not, no worker sends to them again.
 */
export function startTellingDeadTokens({
  pool,
  users,
  log,
}: {
  pool: Pool;
  users: ServiceClient;
  log: Logger;
}): Running {
  let stopped = false;
  let running: Promise<void> | null = null;
  const tell = async () => {
    try {
      while (!stopped && (await tellOnce(pool, users)) === BATCH);
    } catch (error) {
      log.warn({ err: error }, 'the user service could not be told of dead push tokens; it is tried again in 5 s');
    }
  };
  const timer = setInterval(() => {
    running ??= tell().finally(() => (running = null));
  }, POLL_MS);
  return {
    async stop() {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
}

/** @returns how many were told */
const tellOnce = (pool: Pool, users: ServiceClient): Promise<number> =>
  withTransaction(pool, async (client) => {
    const { rows } = await client.query<{ id: string }>(
      `SELECT token_id AS id FROM dead_token WHERE told_at IS NULL ORDER BY at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED`,
    );
    if (rows.length === 0) return 0;
    const ids = rows.map(({ id }) => id);
    const { errors } = await users.graphql(
      { query: 'mutation Bury($ids: [ID!]!) { buryPushTokens(ids: $ids) }', variables: { ids } },
      { viewer: NOTIFICATION_SERVICE, requestId: `bury-${ids[0]}` },
    );
    if (errors?.[0] !== undefined) throw new Error(`the user service answered: ${errors[0].message}`);
    await client.query('UPDATE dead_token SET told_at = now() WHERE token_id = ANY ($1::uuid[])', [ids]);
    return rows.length;
  });
