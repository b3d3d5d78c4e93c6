import { withTransaction, type Pool } from '../../platform/postgres.ts';
import type { Viewer } from '../../platform/trust.ts';
import { applyChanges, changeOf, lockNotifications } from './outcomes.ts';

const BATCH = 100;

/**
 * Cancels everything pending for a deleted user and erases their addresses and content. Repeating it does no harm.
 * What a worker holds right now it may still send; its content goes all the same, and a second call finds it ended.
 * @returns how many were cancelled
 */
export async function eraseUser(pool: Pool, userId: string, viewer: Viewer): Promise<number> {
  let cancelled = 0;
  for (;;) {
    const { rows } = await pool.query<{ id: string }>(
      `SELECT id FROM notification WHERE user_id = $1 AND status = 'pending' AND lease_until IS NULL ORDER BY id LIMIT ${BATCH}`,
      [userId],
    );
    if (rows.length === 0) break;
    cancelled += await withTransaction(pool, async (client) => {
      const locked = await lockNotifications(
        client,
        rows.map(({ id }) => id),
      );
      const fit = [...locked.values()].filter((row) => row.status === 'pending' && !row.isLeased && !row.isExpired);
      if (fit.length > 0) {
        await applyChanges(
          client,
          fit.map((row) => ({
            ...changeOf(row),
            status: 'failed',
            reason: 'CANCELLED',
            event: 'CANCELLED',
            by: viewer.id,
            why: 'the user was deleted',
          })),
        );
      }
      return fit.length;
    });
  }
  await pool.query('DELETE FROM dead_token WHERE user_id = $1', [userId]);
  await pool.query(
    `WITH theirs AS (
       UPDATE notification SET address = NULL WHERE user_id = $1 AND (address IS NOT NULL OR EXISTS (
         SELECT FROM content WHERE content.notification_id = notification.id)) RETURNING id),
     erased AS (DELETE FROM content USING theirs WHERE content.notification_id = theirs.id),
     -- A provider's words may name the address.
     silenced AS (UPDATE attempt SET reason = NULL, results = NULL FROM theirs WHERE attempt.notification_id = theirs.id),
     blackened AS (
       -- The reason of FAILED is ours.
       UPDATE timeline SET detail = (detail::jsonb - 'error' - CASE event WHEN 'FAILED' THEN '' ELSE 'reason' END)::json FROM theirs
       WHERE timeline.notification_id = theirs.id
         AND event IN ('ATTEMPT_ENDED', 'FAILED', 'CONFIRMED', 'BOUNCED', 'COMPLAINED', 'UNSUBSCRIBED', 'DEFERRED'))
     INSERT INTO timeline (notification_id, event) SELECT id, 'ERASED' FROM theirs`,
    [userId],
  );
  return cancelled;
}
