import type { Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import { isConnectionLost, type Pool } from '../../platform/postgres.ts';
import type { Counters } from './counters.ts';

export type Retention = {
  /** Rendered messages, after their notification ended. */
  contentDays: number;
  /** How long a requestId stands for its notification. */
  requestIdDays: number;
  feedHours: number;
  /** Whole months of notifications, when nothing in them is pending or to be published; and of the counts of what happened. */
  months: number;
};

const EVERY_MS = 3_600_000;
/** While PostgreSQL is away or its tables are locked. */
const AGAIN_MS = 5_000;
const BATCH = 1_000;
/** Far longer than any provider repeats an event. */
const FEEDBACK_DAYS = 30;

/**
 * Starts making partitions ahead and removing what is older than it need be kept: at start, then hourly. PostgreSQL may be away
 * at the start, as any other that this service needs.
 * @throws Error when the database is not migrated
 */
export async function startRetention(deps: {
  pool: Pool;
  retention: Retention;
  counters: Counters;
  log: Logger;
}): Promise<Running> {
  const { pool, log } = deps;
  let running = Promise.resolve();
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const schedule = (delayMs: number) => {
    if (!stopped) timer = setTimeout(() => void (running = turn()), delayMs);
  };
  const turn = async () => {
    try {
      await pool.query(ENSURE_PARTITIONS);
      await purge(deps, () => stopped);
      schedule(EVERY_MS);
    } catch (error) {
      const delayMs = isConnectionLost(error) ? AGAIN_MS : EVERY_MS;
      log.error({ err: error }, `old data could not be removed; the next try is in ${delayMs / 1_000} s`);
      schedule(delayMs);
    }
  };
  await pool.query(ENSURE_PARTITIONS).then(
    () => schedule(EVERY_MS),
    (error: unknown) => {
      if (!isForNow(error)) {
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`notifications_db is not ready: ${why}. Run "npm run db:migrate"`, { cause: error });
      }
      log.warn({ err: error }, 'PostgreSQL is away, or somebody holds its tables; trying again until it comes');
      schedule(AGAIN_MS);
    },
  );
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}

const ENSURE_PARTITIONS = 'SELECT ensure_partitions(), ensure_feed_partitions()';

/** PostgreSQL is away, or somebody held a lock for longer than others should wait behind us. */
const isForNow = (error: unknown) =>
  isConnectionLost(error) || (error instanceof Error && 'code' in error && error.code === LOCK_NOT_AVAILABLE);
const LOCK_NOT_AVAILABLE = '55P03';

/** Removes everything that is too old, in small transactions. Several processes may do it at once. */
export async function purge(
  { pool, retention, counters, log }: { pool: Pool; retention: Retention; counters: Counters; log: Logger },
  isStopped: () => boolean = () => false,
): Promise<void> {
  const purged = {
    content: await inBatches(pool, isStopped, PURGE_CONTENT, retention.contentDays),
    request_keys: await inBatches(pool, isStopped, PURGE_REQUEST_KEYS, retention.requestIdDays),
    feedback: await inBatches(pool, isStopped, PURGE_FEEDBACK, FEEDBACK_DAYS),
    feed: await purgeFeed(pool, isStopped, retention.feedHours),
    provider_states: await inBatches(pool, isStopped, PURGE_PROVIDER_STATES, PROVIDER_DAYS),
    counts: await inBatches(pool, isStopped, PURGE_COUNTS, retention.months),
    partitions: await dropPartitions(pool, retention.months),
  };
  for (const [what, count] of Object.entries(purged)) counters.purged.inc({ what }, count);
  if (Object.values(purged).some((count) => count > 0)) log.info(purged, 'old data was removed');
}

async function inBatches(pool: Pool, isStopped: () => boolean, text: string, age: number): Promise<number> {
  let total = 0;
  for (;;) {
    const { rowCount } = await pool.query(text, [age, BATCH]);
    total += rowCount ?? 0;
    if ((rowCount ?? 0) < BATCH || isStopped()) return total;
  }
}

/** The ids carry the time they were made, and nothing ends before it was made. */
const PURGE_CONTENT = `
  DELETE FROM content WHERE notification_id IN (
    SELECT c.notification_id FROM content c JOIN notification n ON n.id = c.notification_id
    WHERE c.notification_id < uuid_floor(now() - $1 * interval '1 day') AND n.ended_at < now() - $1 * interval '1 day' LIMIT $2)`;

const PURGE_REQUEST_KEYS = `
  DELETE FROM request_key WHERE (client_id, request_id) IN (
    SELECT client_id, request_id FROM request_key WHERE created_at < now() - $1 * interval '1 day' LIMIT $2)`;

const PURGE_FEEDBACK = `
  DELETE FROM feedback_seen WHERE (provider, event_id) IN (
    SELECT provider, event_id FROM feedback_seen WHERE seen_at < now() - $1 * interval '1 day' LIMIT $2)`;

/** How a worker saw its providers, long after it was last seen. */
const PURGE_PROVIDER_STATES = `
  DELETE FROM provider_state WHERE (worker, type, provider) IN (
    SELECT worker, type, provider FROM provider_state WHERE seen_at < now() - $1 * interval '1 day' LIMIT $2)`;
const PROVIDER_DAYS = 1;

const PURGE_COUNTS = `
  DELETE FROM status_count WHERE ctid IN (
    SELECT ctid FROM status_count WHERE hour < date_trunc('month', now(), 'UTC') - make_interval(months => $1) LIMIT $2)`;

/** Numbers go on where they were, also when every row is gone: the floor is raised first. */
async function purgeFeed(pool: Pool, isStopped: () => boolean, hours: number): Promise<number> {
  await pool.query('UPDATE feed_state SET floor = greatest(floor, (SELECT max(seq) FROM feed))');
  return inBatches(pool, isStopped, PURGE_FEED, hours);
}

/** From the lowest number to the first that is young: what is left has no hole. */
const PURGE_FEED = `
  WITH lowest AS (SELECT seq, at < now() - $1 * interval '1 hour' AS is_old FROM feed ORDER BY seq LIMIT $2)
  DELETE FROM feed USING lowest
  WHERE feed.seq = lowest.seq AND is_old AND feed.seq < coalesce((SELECT min(seq) FROM lowest WHERE NOT is_old), feed.seq + 1)`;

/** @returns how many were dropped, of the feed and of notifications */
async function dropPartitions(pool: Pool, months: number): Promise<number> {
  const { rows: feed } = await pool.query<{ dropped: number }>('SELECT drop_empty_feed_partitions() AS dropped');
  const { rows } = await pool.query<{ dropped: number }>('SELECT drop_old_months($1) AS dropped', [months]);
  return (feed[0]?.dropped ?? 0) + (rows[0]?.dropped ?? 0);
}
