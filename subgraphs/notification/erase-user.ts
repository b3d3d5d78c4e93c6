import { withTransaction, type Pool, type PoolClient } from '../../platform/postgres.ts';
import type { Viewer } from '../../platform/trust.ts';
import { countOutcomes, type Counters } from './counters.ts';
import { givenUp } from './decide.ts';
import { applyChanges, changeOf, lockNotifications, type Change } from './outcomes.ts';

const BATCH = 100;

/** What the timeline says of a notification whose user is gone. */
export const USER_DELETED = 'the user was deleted';

/**
 * Cancels everything pending for a deleted user and erases their addresses and content, for good: what is on its way into the
 * database is waited for, and what comes later finds the user in `erased_user`. Repeating it does no harm.
 * What a worker holds right now may still arrive; its content goes all the same, and its outcome ends it.
 * @returns how many were cancelled
 */
export async function eraseUser(
  { pool, counters }: { pool: Pool; counters: Counters },
  userId: string,
  viewer: Viewer,
): Promise<number> {
  await withTransaction(pool, async (client) => {
    // Sends queue up behind this, so rather fail: the user service calls again.
    await client.query(`SET LOCAL lock_timeout = '3s'`);
    await client.query('LOCK TABLE erased_user IN EXCLUSIVE MODE');
    await client.query('INSERT INTO erased_user (user_id) VALUES ($1) ON CONFLICT DO NOTHING', [userId]);
  });
  await pool.query('DELETE FROM dead_token WHERE user_id = $1', [userId]);
  let cancelled = 0;
  for (let after = FIRST_ID; ;) {
    const ids = await findNext(pool, userId, after);
    const last = ids.at(-1);
    if (last === undefined) return cancelled;
    const changes = await withTransaction(pool, (client) => erase(client, ids, viewer));
    countOutcomes(counters, changes);
    cancelled += changes.length;
    after = last;
  }
}

async function findNext(pool: Pool, userId: string, after: string): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `SELECT id FROM notification WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT ${BATCH}`,
    [userId, after],
  );
  return rows.map(({ id }) => id);
}

/** @returns what it cancelled */
async function erase(client: PoolClient, ids: string[], viewer: Viewer): Promise<Change[]> {
  const locked = [...(await lockNotifications(client, ids)).values()];
  const waiting = locked.filter((row) => row.status === 'pending' && !row.isLeased && !row.isExpired);
  const changes = waiting.map((row): Change => ({
    ...changeOf(row),
    ...givenUp(row, 'CANCELLED'),
    event: 'CANCELLED',
    by: viewer.id,
    why: USER_DELETED,
  }));
  if (changes.length > 0) await applyChanges(client, changes);
  await client.query(ERASE, [ids, ids[0], ids.at(-1), PROVIDERS_WORDS]);
  return changes;
}

/** Events whose reason is in a provider's words; of the others it is ours. */
const PROVIDERS_WORDS = ['ATTEMPT_ENDED', 'CONFIRMED', 'BOUNCED', 'COMPLAINED', 'UNSUBSCRIBED', 'DEFERRED'];

const FIRST_ID = '00000000-0000-0000-0000-000000000000';

/** The notifications are locked, so nobody writes a word on them meanwhile. */
const ERASE = `
  WITH theirs AS (SELECT id FROM notification WHERE id = ANY ($1::uuid[]) AND id BETWEEN $2 AND $3),
  unaddressed AS (
    UPDATE notification SET address = NULL FROM theirs WHERE notification.id = theirs.id AND address IS NOT NULL RETURNING theirs.id),
  erased AS (DELETE FROM content USING theirs WHERE content.notification_id = theirs.id RETURNING theirs.id),
  -- A provider's words may name the address.
  telling AS (
    SELECT a.notification_id AS id, a.number FROM attempt a JOIN theirs ON theirs.id = a.notification_id
    WHERE a.reason IS NOT NULL OR a.results IS NOT NULL ORDER BY a.notification_id, a.number FOR UPDATE OF a),
  silenced AS (
    UPDATE attempt a SET reason = NULL, results = NULL FROM telling
    WHERE a.notification_id = telling.id AND a.number = telling.number RETURNING telling.id),
  blackened AS (
    UPDATE timeline SET detail = (detail::jsonb - 'error' - CASE WHEN event = ANY ($4) THEN 'reason' ELSE '' END)::json
    FROM theirs WHERE timeline.notification_id = theirs.id AND (event = ANY ($4) OR detail->>'error' IS NOT NULL))
  INSERT INTO timeline (notification_id, event)
  SELECT id, 'ERASED' FROM (TABLE unaddressed UNION TABLE erased UNION TABLE silenced) AS changed ORDER BY id`;
