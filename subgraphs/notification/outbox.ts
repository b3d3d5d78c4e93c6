import type { QueueKey } from '../../contracts/topology.ts';
import type { Pool, PoolClient } from '../../platform/postgres.ts';

/** The relay's statements. It locks outbox rows only, never a notification. */

export type OutboxRow = {
  id: string;
  notificationId: string;
  priority: number;
  dueAt: Date;
  /** Whether a job of it would find something to do. */
  isWanted: boolean;
};

/**
 * Locks due rows of one queue until the end of the transaction, highest priority first. Rows that another relay holds are
 * skipped. Each priority is a range of its own in the index, so neither future rows nor a deep backlog are scanned.
 * @param since for each priority, 1 to 10, the due time before which nothing is to be found
 */
export async function lockDue(client: PoolClient, key: QueueKey, limit: number, since: Date[]): Promise<OutboxRow[]> {
  const { rows } = await client.query<OutboxRow>({
    name: 'lock-due',
    text: `
      SELECT due.id, due.notification_id AS "notificationId", due.priority, due.due_at AS "dueAt",
        $1 = 'failed' OR EXISTS (
          SELECT FROM notification n
          WHERE n.id = due.notification_id AND n.status = 'pending' AND (n.expires_at IS NULL OR n.expires_at > now())) AS "isWanted"
      FROM generate_series(10, 1, -1) AS level, LATERAL (
        SELECT id, notification_id, priority, due_at FROM outbox
        WHERE key = $1 AND priority = level AND due_at <= now() AND due_at >= ($3::timestamptz[])[level]
        ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED) AS due
      LIMIT $2`,
    values: [key, limit, since],
  });
  return rows;
}

/**
 * Deletes what the broker confirmed and what nobody wants any more, and notes the jobs in the timelines. A row whose
 * notification is gone has no timeline: there is no partition for it, and one such row must not keep all others.
 */
export async function deletePublished(client: PoolClient, key: QueueKey, rows: OutboxRow[]): Promise<void> {
  await client.query({
    name: 'delete-published',
    text: `
      WITH published AS (DELETE FROM outbox WHERE id = ANY ($1::bigint[]) RETURNING id, notification_id)
      INSERT INTO timeline (notification_id, event)
      SELECT n.id, 'QUEUED' FROM published JOIN notification n ON n.id = published.notification_id
      WHERE $2 <> 'failed' AND published.id = ANY ($3::bigint[])
      -- The timeline tells them in the order they went out.
      ORDER BY array_position($3::bigint[], published.id)`,
    values: [rows.map(({ id }) => id), key, rows.flatMap(({ id, isWanted }) => (isWanted ? [id] : []))],
  });
}

/** Puts off what the broker did not confirm or could not route. */
export async function postpone(client: PoolClient, rows: OutboxRow[], delayMs: number): Promise<void> {
  await client.query(`UPDATE outbox SET due_at = now() + $2 * interval '1 millisecond' WHERE id = ANY ($1::bigint[])`, [
    rows.map(({ id }) => id),
    delayMs,
  ]);
}

/** What failed.queue says of a notification. */
export async function readDeadLetters(client: PoolClient, ids: string[]): Promise<Map<string, DeadLetter>> {
  const { rows } = await client.query<DeadLetter>(
    `SELECT n.id AS "notificationId", n.type, n.user_id AS "userId", n.template_code AS "templateCode", n.request_id AS "requestId", n.reason,
       n.attempts, last.reason AS "lastError", n.updated_at AS "failedAt"
     FROM notification n LEFT JOIN LATERAL (
       (SELECT reason FROM attempt a WHERE a.notification_id = n.id AND n.reason <> 'BOUNCED' ORDER BY number DESC LIMIT 1)
       UNION ALL
       -- The last attempt went well; what counts was said after it.
       (SELECT detail->>'error' FROM timeline t WHERE t.notification_id = n.id AND t.event = 'FAILED' AND n.reason = 'BOUNCED'
        ORDER BY t.id DESC LIMIT 1)) AS last ON true
     WHERE n.id = ANY ($1::uuid[])`,
    [ids],
  );
  return new Map(rows.map((row) => [row.notificationId, row]));
}

export type DeadLetter = {
  notificationId: string;
  type: string;
  userId: string;
  templateCode: string;
  requestId: string;
  reason: string;
  attempts: number;
  lastError: string | null;
  failedAt: Date;
};

/**
 * Whatever is pending, never claimed and in no outbox row was published once: publish it again. A lease that ran out is the
 * sweeper's. @returns how many
 */
export async function requeueUnclaimed(pool: Pool | PoolClient): Promise<number> {
  const { rowCount } = await pool.query(`
    INSERT INTO outbox (notification_id, key, priority, due_at)
    SELECT n.id, n.type, n.priority, greatest(n.due_at, now()) FROM notification n
    WHERE n.status = 'pending' AND n.lease_until IS NULL
      AND NOT EXISTS (SELECT FROM outbox o WHERE o.notification_id = n.id AND o.key = n.type)`);
  return rowCount ?? 0;
}

/**
 * Puts published notifications that nobody has claimed for long back into the outbox: at most one row each, then twice as late
 * (5 min × 2). A job may be lost in the broker without its mark being gone: a purged or deleted queue.
 * @param isDrained whether the queue is empty, so that a job still unclaimed can only be lost; else an hour is waited
 */
export async function requeueLong(pool: Pool | PoolClient, key: QueueKey, isDrained: boolean): Promise<number> {
  const { rowCount } = await pool.query(
    `WITH lost AS (
       SELECT n.id FROM notification n
       WHERE n.status = 'pending' AND n.lease_until IS NULL AND n.type = $1
         AND n.due_at < now() - $2 * interval '1 minute' * power(2, n.requeues)
         AND NOT EXISTS (SELECT FROM outbox o WHERE o.notification_id = n.id AND o.key = n.type)
       ORDER BY n.id LIMIT 1000 FOR UPDATE OF n SKIP LOCKED),
     noted AS (
       UPDATE notification n SET requeues = n.requeues + 1 FROM lost WHERE n.id = lost.id RETURNING n.id, n.type, n.priority)
     INSERT INTO outbox (notification_id, key, priority, due_at) SELECT id, type, priority, now() FROM noted`,
    [key, isDrained ? 5 : 60],
  );
  return rowCount ?? 0;
}
