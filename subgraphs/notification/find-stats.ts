import { isFailureReason, type FailureReason } from '../../contracts/failure-reason.ts';
import { NOTIFICATION_TYPES, type NotificationType } from '../../contracts/jobs.ts';
import type { Pool } from '../../platform/postgres.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import type { Viewer } from '../../platform/trust.ts';
import { faultOfMoment } from './parse-send.ts';

/** What happened to notifications of one type within one hour or day. */
export type StatsRow = {
  start: Date;
  end: Date;
  type: NotificationType;
  accepted: number;
  delivered: number;
  failed: number;
  returned: number;
  retriesScheduled: number;
  replayed: number;
  discarded: number;
  failuresByReason: { reason: FailureReason; count: number }[];
};

export type StatsQuery = { since: Date; until: Date | null; bucket: 'hour' | 'day'; type: NotificationType | null };

const MAX_BUCKETS = 1_000;
const LENGTH_MS = { hour: 3_600_000, day: 24 * 3_600_000 };

/** Every bucket from `since` to `until`, oldest first, with the viewer's own counts. It reads counters, never notifications. */
export async function findStats(
  pool: Pool,
  { since, until, bucket, type }: StatsQuery,
  viewer: Viewer,
): Promise<{ kind: 'stats'; buckets: StatsRow[] } | Refusal> {
  // Of the counts nobody knows whom they were sent to.
  if (viewer.kind === 'user')
    return refuse('FORBIDDEN', 'notificationStats counts what clients send: a user may not ask, use an API key');
  const end = until ?? new Date();
  for (const [field, moment] of [
    ['since', since],
    ['until', end],
  ] as const) {
    const fault = faultOfMoment(moment);
    if (fault !== null) return refuse('BAD_USER_INPUT', `${field} ${fault}`, field, 'INVALID');
  }
  if (since >= end) {
    const [field, message] =
      until === null
        ? ['since', 'since must be before now, or until must be set']
        : ['until', 'until must be later than since'];
    return refuse('BAD_USER_INPUT', message, field, 'INVALID');
  }
  // Without leap seconds and in UTC, every bucket is as long as the others.
  const lengthMs = LENGTH_MS[bucket];
  const first = Math.floor(since.getTime() / lengthMs);
  const count = Math.ceil(end.getTime() / lengthMs) - first;
  if (count > MAX_BUCKETS) {
    const hint = bucket === 'hour' ? '; take a shorter time, or DAY' : '; take a shorter time';
    return refuse(
      'BAD_USER_INPUT',
      `since is ${count} buckets of one ${bucket} before until, and ${MAX_BUCKETS} are told at once${hint}`,
      'since',
      'TOO_LONG',
    );
  }
  const starts = Array.from({ length: count }, (_, place) => (first + place) * lengthMs);
  const { rows } = await pool.query<CountRow>(COUNTS, [
    new Date(first * lengthMs),
    new Date((first + count) * lengthMs),
    bucket,
    viewer.kind === 'admin' ? null : viewer.id,
    type,
  ]);
  const counted = Map.groupBy(rows, (row) => `${row.start.getTime()} ${row.type}`);
  const types = type === null ? NOTIFICATION_TYPES : [type];
  const buckets = starts.flatMap((start) =>
    types.map((one) => ({
      start: new Date(start),
      end: new Date(start + lengthMs),
      type: one,
      ...toCounts(counted.get(`${start} ${one}`) ?? []),
    })),
  );
  return { kind: 'stats', buckets };
}

/** $1 to $2 in buckets of $3, of the client $4 or all, of the type $5 or both. */
export const COUNTS = `
  SELECT date_trunc($3, hour, 'UTC') AS start, type, what, reason, sum(count)::float AS count FROM status_count
  WHERE hour >= $1 AND hour < $2 AND ($4::text IS NULL OR client_id = $4) AND ($5::text IS NULL OR type = $5)
  GROUP BY 1, 2, 3, 4`;

type CountRow = { start: Date; type: NotificationType; what: string; reason: string | null; count: number };

function toCounts(rows: CountRow[]): Omit<StatsRow, 'start' | 'end' | 'type'> {
  const sumOf = (...kinds: string[]) =>
    rows.filter(({ what }) => kinds.includes(what)).reduce((sum, { count }) => sum + count, 0);
  const reasons = [...new Set(rows.map(({ reason }) => reason))].filter(isFailureReason);
  return {
    accepted: sumOf('accepted'),
    delivered: sumOf('delivered'),
    failed: sumOf('failed', 'returned'),
    returned: sumOf('returned'),
    retriesScheduled: sumOf('retry_scheduled'),
    replayed: sumOf('replayed'),
    discarded: sumOf('discarded'),
    failuresByReason: reasons
      .map((reason) => ({
        reason,
        count: rows.filter((row) => row.reason === reason).reduce((sum, { count }) => sum + count, 0),
      }))
      .sort((a, b) => b.count - a.count),
  };
}
