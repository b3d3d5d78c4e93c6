import { v7 as uuidv7 } from 'uuid';
import type { OutcomeClass, Status, TargetResult } from '../../contracts/report.ts';
import type { FailureReason } from '../../contracts/failure-reason.ts';
import type { NotificationType } from '../../contracts/jobs.ts';
import type { PoolClient } from '../../platform/postgres.ts';

/** A notification, locked, with what its attempts say of the token in question. */
export type LockedRow = {
  id: string;
  clientId: string;
  userId: string;
  type: NotificationType;
  status: Status;
  reason: string | null;
  token: number;
  isLeased: boolean;
  /** There was a lease, and it ran out. */
  isExpired: boolean;
  onAmbiguous: 'resend' | 'fail';
  failures: number;
  /** When the first of them was, in this run. */
  failingSince: Date | null;
  /** An attempt of this run had an unknown outcome. */
  mayHaveArrived: boolean;
  claims: number;
  dueAt: Date;
  expiresAt: Date | null;
  hasContent: boolean;
  /** The user was deleted: no word about them is written any more. */
  isErased: boolean;
  /** The database's clock, the only one that counts. */
  now: Date;
};

/** Locks the rows, in the order of their ids, until the end of the transaction. */
export async function lockNotifications(client: PoolClient, ids: string[]): Promise<Map<string, LockedRow>> {
  const sorted = [...ids].sort();
  const { rows } = await client.query<LockedRow>({
    name: 'lock-notifications',
    text: `
      SELECT id, client_id AS "clientId", user_id AS "userId", type, status, reason, token, on_ambiguous AS "onAmbiguous", failures,
        failing_since AS "failingSince", may_have_arrived AS "mayHaveArrived", claims,
        due_at AS "dueAt", expires_at AS "expiresAt",
        EXISTS (SELECT FROM content c WHERE c.notification_id = notification.id) AS "hasContent",
        EXISTS (SELECT FROM erased_user e WHERE e.user_id = notification.user_id FOR KEY SHARE) AS "isErased",
        coalesce(lease_until > now(), false) AS "isLeased",
        coalesce(lease_until <= now(), false) AS "isExpired", now() AS now
      FROM notification WHERE id = ANY ($1::uuid[]) AND id BETWEEN $2 AND $3
      ORDER BY id FOR UPDATE`,
    values: [sorted, sorted[0], sorted.at(-1)],
  });
  return new Map(rows.map((row) => [row.id, row]));
}

/**
 * The last attempt of each given (notification, token) pair, by `id:token`. `appliedAt` says that its outcome counted already,
 * `wasAccepted` that an attempt of this claim handed the message over to some target.
 */
export async function findAttempts(
  client: PoolClient,
  wanted: { id: string; token: number }[],
): Promise<Map<string, AttemptRow>> {
  const { rows } = await client.query<AttemptRow>({
    name: 'find-attempts',
    text: `
      SELECT DISTINCT ON (a.notification_id, a.token) a.notification_id AS id, a.token, a.number, a.provider, a.finished_at AS "finishedAt",
        a.applied_at AS "appliedAt", a.class, a.reason, a.retry_after_seconds AS "retryAfterSeconds",
        a.provider_message_id AS "providerMessageId", a.results,
        bool_or(a.class = 'accepted') OVER (PARTITION BY a.notification_id, a.token) IS TRUE AS "wasAccepted"
      FROM attempt a JOIN unnest($1::uuid[], $2::integer[]) AS w (id, token) ON a.notification_id = w.id AND a.token = w.token
      ORDER BY a.notification_id, a.token, a.number DESC`,
    values: [wanted.map(({ id }) => id), wanted.map(({ token }) => token)],
  });
  return new Map(rows.map((row) => [`${row.id}:${row.token}`, row]));
}

export type AttemptRow = {
  id: string;
  token: number;
  number: number;
  provider: string;
  finishedAt: Date | null;
  appliedAt: Date | null;
  class: OutcomeClass | null;
  reason: string | null;
  retryAfterSeconds: number | null;
  providerMessageId: string | null;
  results: TargetResult[] | null;
  wasAccepted: boolean;
};

/** What to write for one notification. */
export type Change = {
  id: string;
  type: NotificationType;
  status: Status;
  previousStatus: Status;
  reason: FailureReason | null;
  event: 'DELIVERED' | 'FAILED' | 'RETRY_SCHEDULED' | 'CANCELLED' | 'REPLAYED' | 'DISCARDED';
  /** Who did it and why, when it was a person's act. */
  by: string | null;
  why: string | null;
  /** From now, by the database's clock; null: the due time stays. */
  delayMs: number | null;
  usedUp: boolean;
  /** Whether it is an event of the feed: every change of status, and every retry that uses up a try. */
  isEvent: boolean;
  /** Whether the claim counts as one that came to nothing. */
  isGiveBack: boolean;
  /** For the timeline of a change without an attempt. */
  error: string | null;
  /** Whose word it is; null when no provider had one. */
  provider: string | null;
  /** The attempt that the outcome belongs to; null for none (a legacy report, or nothing was started). */
  attempt: ({ token: number } & AttemptOutcome) | null;
  /** The message to failed.queue goes out with this change. */
  isDeadLetter: boolean;
  isErased: boolean;
};

export type AttemptOutcome = {
  class: OutcomeClass;
  reason: string | null;
  retryAfterSeconds: number | null;
  providerMessageId: string | null;
  results: TargetResult[] | null;
};

/** A change that does nothing yet. */
export const changeOf = (row: LockedRow): Omit<Change, 'status' | 'event'> => ({
  id: row.id,
  type: row.type,
  previousStatus: row.status,
  reason: null,
  by: null,
  why: null,
  delayMs: null,
  usedUp: false,
  isEvent: true,
  isGiveBack: false,
  error: null,
  provider: null,
  attempt: null,
  isDeadLetter: false,
  isErased: row.isErased,
});

/** Writes status, attempt, timeline, feed and outbox of many notifications at once; their rows must be locked. */
export async function applyChanges(client: PoolClient, changes: Change[]): Promise<void> {
  // In the order of the ids, like everybody who locks attempts.
  const sorted = [...changes].sort((a, b) => (a.id < b.id ? -1 : 1));
  await client.query({ name: 'apply-changes', text: APPLY, values: [JSON.stringify(sorted.map(flatten))] });
}

/** Keeps the outcome of an attempt that came too late to count. */
export async function keepStaleOutcomes(
  client: PoolClient,
  stale: ({ id: string; token: number } & AttemptOutcome)[],
): Promise<void> {
  await client.query('SELECT keep_outcomes($1)', [
    JSON.stringify(
      stale.map(({ id, token, reason, retryAfterSeconds, providerMessageId, results, ...outcome }) => ({
        notification_id: id,
        token,
        class: outcome.class,
        reason,
        retry_after_seconds: retryAfterSeconds,
        provider_message_id: providerMessageId,
        results,
      })),
    ),
  ]);
}

const flatten = ({ attempt, ...change }: Change) => ({
  ...change,
  token: attempt?.token ?? null,
  class: attempt?.class ?? null,
  // A provider's words may name the address.
  error: change.isErased ? null : (attempt?.reason ?? change.error),
  retryAfterSeconds: attempt?.retryAfterSeconds ?? null,
  providerMessageId: attempt?.providerMessageId ?? null,
  results: change.isErased ? null : (attempt?.results ?? null),
  suppressionId: attempt?.class === 'address_dead' ? uuidv7() : null,
});

const APPLY = `
  WITH change AS (
    SELECT * FROM json_to_recordset($1) AS c (
      id uuid, status text, "previousStatus" text, reason text, event text, by text, why text, "delayMs" double precision,
      "usedUp" boolean, "isEvent" boolean, "isGiveBack" boolean, "isDeadLetter" boolean, "isErased" boolean,
      token integer, class text, error text, "retryAfterSeconds" integer, "providerMessageId" text, results json, "suppressionId" uuid)),
  changed AS (
    UPDATE notification n
    SET status = change.status, reason = change.reason, lease_until = NULL, version = n.version + change."isEvent"::integer, updated_at = now(),
      -- A replay begins a new run.
      failures = CASE change.event WHEN 'REPLAYED' THEN 0 ELSE n.failures + change."usedUp"::integer END,
      failing_since = CASE
        WHEN change.event = 'REPLAYED' THEN NULL WHEN change."usedUp" THEN coalesce(n.failing_since, now()) ELSE n.failing_since END,
      attempts_before = CASE change.event WHEN 'REPLAYED' THEN n.attempts ELSE n.attempts_before END,
      may_have_arrived = change.event <> 'REPLAYED' AND (n.may_have_arrived OR change.class IS NOT DISTINCT FROM 'unknown'),
      claims = CASE WHEN change."isGiveBack" THEN n.claims ELSE 0 END,
      ended_at = CASE WHEN change.status <> 'pending' THEN now() END,
      due_at = coalesce(now() + change."delayMs" * interval '1 millisecond', n.due_at)
    FROM change WHERE n.id = change.id
    RETURNING n.*),
  ended AS (
    UPDATE attempt a
    SET finished_at = coalesce(a.finished_at, clock_timestamp()), class = change.class, reason = change.error,
      retry_after_seconds = change."retryAfterSeconds", provider_message_id = change."providerMessageId",
      results = CASE WHEN NOT change."isErased" THEN coalesce(change.results, a.results) END, applied_at = clock_timestamp()
    FROM change WHERE a.notification_id = change.id AND a.token = change.token
      -- The claim's last one; those before it were closed when it was opened.
      AND a.number = (SELECT max(last.number) FROM attempt last WHERE last.notification_id = change.id AND last.token = change.token)
      -- That it was delivered after all is worth more than that nobody knew.
      AND (a.applied_at IS NULL OR (a.class = 'unknown' AND change.class = 'accepted'))),
  noted AS (
    INSERT INTO timeline (notification_id, event, detail)
    SELECT change.id, entry.event, nullif(entry.detail::text, '{}')::json
    FROM change JOIN changed ON changed.id = change.id, LATERAL (VALUES
      (1, 'ATTEMPT_ENDED', json_strip_nulls(json_build_object('class', change.class, 'reason', change.error,
        'providerMessageId', change."providerMessageId"))),
      (2, change.event,
        json_strip_nulls(json_build_object('reason', change.reason, 'error', CASE WHEN change.class IS NULL THEN change.error END, 'by', change.by, 'why', change.why, 'dueAt', CASE change.status WHEN 'pending' THEN changed.due_at END)))
    ) AS entry (place, event, detail)
    WHERE entry.place = 2 OR change.class IS NOT NULL
    ORDER BY change.id, entry.place),
  announced AS (
    INSERT INTO feed_in (notification_id, version, type, user_id, client_id, request_id, status, previous_status, reason, attempt)
    SELECT c.id, c.version, c.type, c.user_id, c.client_id, c.request_id, c.status, change."previousStatus", c.reason, c.attempts
    FROM changed c JOIN change ON change.id = c.id WHERE change."isEvent"),
  -- What is dead stays so: nothing goes there again.
  buried AS (
    INSERT INTO dead_token (token_id, user_id, reason)
    SELECT DISTINCT ON (result->>'target') (result->>'target')::uuid, changed.user_id, result->>'reason'
    FROM change JOIN changed ON changed.id = change.id, json_array_elements(change.results) AS result
    WHERE changed.type = 'push' AND result->>'class' = 'address_dead'
    ORDER BY result->>'target'
    ON CONFLICT DO NOTHING),
  suppressed AS (
    INSERT INTO suppression (id, type, address, reason, created_by)
    SELECT DISTINCT ON (lower(result->>'target')) change."suppressionId", 'email', lower(result->>'target'),
      left('the address is dead: ' || coalesce(result->>'reason', ''), 1000), 'herald'
    FROM change JOIN changed ON changed.id = change.id, json_array_elements(change.results) AS result
    WHERE changed.type = 'email' AND change.class = 'address_dead' AND result->>'class' = 'address_dead'
    ORDER BY lower(result->>'target')
    ON CONFLICT DO NOTHING),
  -- A sensitive message is kept no longer than it is needed.
  erased AS (
    DELETE FROM content USING changed
    WHERE content.notification_id = changed.id AND changed.sensitive AND changed.status <> 'pending'),
  -- A job for what has ended would find nothing to do. Those that the relay holds are on their way.
  unqueued AS (
    DELETE FROM outbox WHERE id IN (
      SELECT o.id FROM outbox o JOIN changed ON o.notification_id = changed.id AND o.key = changed.type
      WHERE changed.status <> 'pending' FOR UPDATE OF o SKIP LOCKED)),
  queued AS (
    INSERT INTO outbox (notification_id, key, priority, due_at)
    SELECT changed.id, changed.type, changed.priority, changed.due_at FROM changed WHERE status = 'pending'
    UNION ALL
    SELECT changed.id, 'failed', changed.priority, now() FROM changed JOIN change ON change.id = changed.id WHERE change."isDeadLetter")
  SELECT count(*) FROM changed`;
