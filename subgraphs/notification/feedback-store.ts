import { v7 as uuidv7 } from 'uuid';
import type { FeedbackEvent, FeedbackKind } from '../../contracts/feedback.ts';
import type { NotificationType } from '../../contracts/jobs.ts';
import type { Pool, PoolClient } from '../../platform/postgres.ts';

/** A notification, as far as feedback needs what never changes in it. */
export type Target = {
  id: string;
  type: NotificationType;
  userId: string;
  templateCode: string;
  /** Null for a push message, and when the user was erased. */
  address: string | null;
};

export async function findTargets(pool: Pool, ids: string[]): Promise<Map<string, Target>> {
  if (ids.length === 0) return new Map();
  const { rows } = await pool.query<Target>(
    `SELECT id, type, user_id AS "userId", template_code AS "templateCode", address FROM notification WHERE id = ANY ($1::uuid[])`,
    [ids],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** Notification ids by the message ids that OneSignal gave. */
export async function findByOnesignalId(pool: Pool, messageIds: string[]): Promise<Map<string, string>> {
  const { rows } = await pool.query<{ messageId: string; id: string }>(
    `SELECT provider_message_id AS "messageId", notification_id AS id FROM attempt
     WHERE provider = 'onesignal' AND provider_message_id = ANY ($1)`,
    [messageIds],
  );
  return new Map(rows.map(({ messageId, id }) => [messageId, id]));
}

/** Marks events as taken. @returns those that were not before, in their order */
export async function markSeen(client: PoolClient, events: FeedbackEvent[]): Promise<FeedbackEvent[]> {
  const unique = new Map(events.map((event) => [nameOf(event), event]));
  const { rows } = await client.query<{ provider: string; eventId: string }>(
    // In one order for everybody, so that two batches with common events wait for each other instead of deadlocking.
    `INSERT INTO feedback_seen (provider, event_id)
     SELECT * FROM unnest($1::text[], $2::text[]) AS e (provider, event_id) ORDER BY provider, event_id COLLATE "C"
     ON CONFLICT DO NOTHING RETURNING provider, event_id AS "eventId"`,
    [[...unique.values()].map(({ provider }) => provider), [...unique.values()].map(({ eventId }) => eventId)],
  );
  const fresh = new Set(rows.map(nameOf));
  return [...unique].flatMap(([name, event]) => (fresh.has(name) ? [event] : []));
}

/** A provider's name holds no space. */
const nameOf = ({ provider, eventId }: { provider: string; eventId: string }) => `${provider} ${eventId}`;

/** Writes events into the timelines of their notifications. */
export async function noteFeedback(
  client: PoolClient,
  notes: { notificationId: string; event: FeedbackEvent }[],
): Promise<void> {
  await client.query(
    `INSERT INTO timeline (notification_id, event, detail)
     SELECT id, name, json_strip_nulls(json_build_object('provider', provider, 'permanent', permanent, 'reason', reason, 'at', at))
     FROM ROWS FROM (json_to_recordset($1) AS (id uuid, name text, provider text, permanent boolean, reason text, at text))
       WITH ORDINALITY AS n (id, name, provider, permanent, reason, at, place)
     ORDER BY place`,
    [
      JSON.stringify(
        notes.map(({ notificationId, event }) => ({
          id: notificationId,
          name: TIMELINE_EVENTS[event.kind],
          provider: event.provider,
          permanent: event.kind === 'bounced' ? event.isPermanent : null,
          reason: event.reason,
          at: event.at,
        })),
      ),
    ],
  );
}

const TIMELINE_EVENTS = {
  delivered: 'CONFIRMED',
  bounced: 'BOUNCED',
  complained: 'COMPLAINED',
  unsubscribed: 'UNSUBSCRIBED',
  deferred: 'DEFERRED',
} as const satisfies Record<FeedbackKind, string>;

export type NewSuppression = {
  type: NotificationType;
  address: string | null;
  userId: string | null;
  templateCode: string | null;
  reason: string;
  createdBy: string;
};

/** Adds to the suppression list what it does not say yet. */
export async function insertSuppressions(client: PoolClient, rows: NewSuppression[]): Promise<void> {
  await client.query(
    `INSERT INTO suppression (id, type, address, user_id, template_code, reason, created_by)
     SELECT id, type, address, "userId", "templateCode", reason, "createdBy"
     FROM json_to_recordset($1) AS s (id uuid, type text, address text, "userId" uuid, "templateCode" text, reason text, "createdBy" text)
     ORDER BY type, address COLLATE "C", "userId", "templateCode" COLLATE "C"
     ON CONFLICT DO NOTHING`,
    [JSON.stringify(rows.map((row) => ({ id: uuidv7(), ...row })))],
  );
}
