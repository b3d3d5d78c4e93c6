import type { FailureReason } from '../../contracts/failure-reason.ts';
import type { NotificationType } from '../../contracts/jobs.ts';
import type { OutcomeClass, Status } from '../../contracts/report.ts';
import { createBatcher } from '../../platform/batch.ts';
import type { Pool } from '../../platform/postgres.ts';
import { toWords, WORDS, type SuppressionInJson, type SuppressionWords } from './find-obstacles.ts';
import { PROVIDERS, type ProviderRow } from './store.ts';

/** All that is known of where a notification is, and of how it came there. */
export type Whereabouts = {
  id: string;
  type: NotificationType;
  status: Status;
  reason: FailureReason | null;
  dueAt: Date;
  expiresAt: Date | null;
  endedAt: Date | null;
  failures: number;
  attempts: number;
  /** Null without a lease; one may have run out. */
  leaseUntil: Date | null;
  /** Or its attempt begun; while it has a lease. */
  claimedAt: Date;
  /** The database's clock. */
  now: Date;
  /** The last of this run; before a replay it does not count. */
  attempt: Attempt | null;
  /** What it waits or ended for: the last entry of the timeline that says so. */
  cause: Cause | null;
  /** When its job was published last. */
  queuedAt: Date | null;
  /** When its row in the outbox is due; null when it has none. */
  outboxDueAt: Date | null;
  /** What the list says now that fits it; for one that ended as SUPPRESSED. */
  suppression: SuppressionWords | null;
  /** The channel's, in the order in which they are tried. */
  providers: ProviderRow[];
};

type Attempt = {
  number: number;
  provider: string;
  /** Null while nobody knows. */
  class: OutcomeClass | null;
  reason: string | null;
  startedAt: Date;
  isOfLease: boolean;
};

type Cause = {
  event: 'ACCEPTED' | 'SCHEDULED' | 'RETRY_SCHEDULED' | 'REPLAYED' | 'FAILED' | 'CANCELLED' | 'DISCARDED';
  at: Date;
  /** Who did it and why, when it was a person's act. */
  by: string | null;
  why: string | null;
  error: string | null;
  /** Whether the notification is due when the entry says. */
  isDueThen: boolean;
};

/** Tells of notifications that are not delivered; null for those that are. One statement for concurrent calls. */
export const createWhereabouts = (pool: Pool) =>
  createBatcher((ids: string[]) => findWhereabouts(pool, ids), { maxItems: 1_000, maxInFlight: 4 });

export type FindWhereabouts = ReturnType<typeof createWhereabouts>;

async function findWhereabouts(pool: Pool, ids: string[]): Promise<(Whereabouts | null)[]> {
  const { rows } = await pool.query<Row>({ name: 'find-whereabouts', text: WHEREABOUTS, values: [ids] });
  const found = new Map(rows.map((row) => [row.id, toWhereabouts(row)]));
  return ids.map((id) => found.get(id) ?? null);
}

/** The bounds spare the months that hold none of the ids. */
const WHEREABOUTS = `
  WITH seen AS (SELECT type, json_agg(p ORDER BY place, name) AS providers FROM (${PROVIDERS}) AS p GROUP BY type)
  SELECT n.id, n.type, n.status, n.reason, n.due_at AS "dueAt", n.expires_at AS "expiresAt", n.ended_at AS "endedAt", n.failures,
    n.attempts, n.lease_until AS "leaseUntil", n.updated_at AS "claimedAt", now() AS now,
    (SELECT json_build_object('number', a.number, 'provider', a.provider, 'class', a.class, 'reason', a.reason,
       'startedAt', a.started_at, 'isOfLease', a.token = n.token)
     FROM attempt a WHERE a.notification_id = n.id AND a.number > n.attempts_before ORDER BY a.number DESC LIMIT 1) AS attempt,
    (SELECT json_build_object('event', t.event, 'at', t.at, 'by', t.detail->>'by', 'why', t.detail->>'why', 'error', t.detail->>'error',
       'isDueThen', coalesce((t.detail->>'dueAt')::timestamptz = n.due_at, false))
     FROM timeline t WHERE t.notification_id = n.id
       AND t.event IN ('ACCEPTED', 'SCHEDULED', 'RETRY_SCHEDULED', 'REPLAYED', 'FAILED', 'CANCELLED', 'DISCARDED')
     ORDER BY t.id DESC LIMIT 1) AS cause,
    (SELECT max(t.at) FROM timeline t WHERE t.notification_id = n.id AND t.event = 'QUEUED') AS "queuedAt",
    (SELECT min(o.due_at) FROM outbox o WHERE o.notification_id = n.id AND o.key = n.type) AS "outboxDueAt",
    CASE n.reason WHEN 'SUPPRESSED' THEN (
      SELECT ${WORDS} FROM suppression s
      WHERE s.type = n.type AND (s.user_id = n.user_id AND (s.template_code IS NULL OR s.template_code = n.template_code)
        OR s.address = n.address
        OR n.type = 'push' AND s.address IN (
          SELECT device->>'token' FROM content c, json_array_elements(c.message->'tokens') AS devices (device) WHERE c.notification_id = n.id))
      ORDER BY s.created_at LIMIT 1) END AS suppression,
    seen.providers
  FROM notification n LEFT JOIN seen ON seen.type = n.type
  WHERE n.id = ANY ($1::uuid[]) AND n.status <> 'delivered'
    AND n.id BETWEEN (SELECT id FROM unnest($1::uuid[]) AS id ORDER BY id LIMIT 1)
      AND (SELECT id FROM unnest($1::uuid[]) AS id ORDER BY id DESC LIMIT 1)`;

/** In JSON a moment is text. */
type InJson<T> = { [Key in keyof T]: T[Key] extends Date ? string : T[Key] };
type Row = Omit<Whereabouts, 'attempt' | 'cause' | 'suppression' | 'providers'> & {
  attempt: InJson<Attempt> | null;
  cause: InJson<Cause> | null;
  suppression: SuppressionInJson | null;
  providers: InJson<ProviderRow>[] | null;
};

const toWhereabouts = ({ attempt, cause, suppression, providers, ...row }: Row): Whereabouts => ({
  ...row,
  attempt: attempt && { ...attempt, startedAt: new Date(attempt.startedAt) },
  cause: cause && { ...cause, at: new Date(cause.at) },
  suppression: toWords(suppression),
  providers: (providers ?? []).map((provider) => ({ ...provider, changedAt: new Date(provider.changedAt) })),
});
