import { PrismaPg } from '@prisma/adapter-pg';
import type { Message } from '../../contracts/message.ts';
import type { NotificationType } from '../../contracts/jobs.ts';
import { createBatcher } from '../../platform/batch.ts';
import type { Pool } from '../../platform/postgres.ts';
import { PrismaClient, type Prisma } from '../../prisma/notification/generated/client.ts';

export type NotificationStore = ReturnType<typeof createStore>;

/** Accepting and reading in notifications_db. The relay's statements are in outbox.ts, those of reports in outcomes.ts. */
export function createStore(pool: Pool) {
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });

  return {
    /** The notification that a (client, request_id) was accepted as, or null. One statement for concurrent calls. */
    findKey: createBatcher((keys: RequestKey[]) => findKeys(pool, keys), { maxItems: 200, ...BOUNDS }),

    /** Stores a send, or finds the one that took its key first. Concurrent calls share one statement and one commit. */
    accept: createBatcher((sends: NewNotification[]) => acceptBatch(pool, sends), {
      maxItems: 200,
      ...BOUNDS,
      weigh: (send) => send.message.length,
      maxWeight: 2 * 1024 * 1024,
    }),

    /** One statement for any number of calls made in one turn. */
    findNotification: (id: string): Promise<NotificationRow | null> =>
      prisma.notification.findUnique({ where: { id } }),

    /** Oldest first. One statement for concurrent calls. */
    findAttempts: createBatcher((ids: string[]) => findAttempts(pool, ids), { maxItems: 200, maxInFlight: 4 }),

    /** The one that says the same, when there is one. */
    async insertSuppression(row: Omit<SuppressionRow, 'createdAt'>): Promise<SuppressionRow> {
      const { type, address, userId, templateCode } = row;
      const same = { type, address, userId, templateCode };
      await prisma.suppression.createMany({ data: [row], skipDuplicates: true });
      return prisma.suppression.findFirstOrThrow({ where: same });
    },

    /** @returns whether there was one */
    deleteSuppression: async (id: string): Promise<boolean> =>
      (await prisma.suppression.deleteMany({ where: { id } })).count > 0,

    /** Newest first. */
    findSuppressions: (where: Prisma.SuppressionWhereInput, take: number): Promise<SuppressionRow[]> =>
      prisma.suppression.findMany({ where, orderBy: { id: 'desc' }, take }),

    /** The providers that workers have spoken of in the last minute, one row each, in the order of the chains, with the worst view of it. */
    async findProviders(): Promise<ProviderRow[]> {
      const { rows } = await pool.query<ProviderRow>(`SELECT * FROM (${PROVIDERS}) AS p ORDER BY type, place, name`);
      return rows;
    },

    findContent: (id: string) => prisma.content.findUnique({ where: { notificationId: id } }),

    /** Oldest first. One statement for concurrent calls. */
    findTimeline: createBatcher((ids: string[]) => findTimeline(pool, ids), { maxItems: 200, maxInFlight: 4 }),

    stop: () => prisma.$disconnect(),
  };
}

/** Every provider that a worker has spoken of in the last minute. */
export const PROVIDERS = `
  SELECT DISTINCT ON (type, provider) type, provider AS name, state, reason, changed_at AS "changedAt",
    (count(*) OVER (PARTITION BY type, provider))::integer AS workers, min(place) OVER (PARTITION BY type, provider) AS place,
    bool_or(state IN ('closed', 'half_open')) OVER (PARTITION BY type, provider) AS "isTaking"
  FROM provider_state WHERE seen_at > now() - interval '1 minute'
  ORDER BY type, provider, array_position(ARRAY['paused', 'open', 'half_open', 'closed'], state)`;

/** With PostgreSQL away, callers are told so in time, and don't pile up: ten calls of a thousand sends may wait. */
const BOUNDS = { maxWaiting: 10_000, maxWaitMs: 5_000 };

/** The bounds spare the months that hold none of the ids. */
const OF_THESE = `notification_id = ANY ($1::uuid[])
  AND notification_id BETWEEN (SELECT id FROM unnest($1::uuid[]) AS id ORDER BY id LIMIT 1)
    AND (SELECT id FROM unnest($1::uuid[]) AS id ORDER BY id DESC LIMIT 1)`;

async function findAttempts(pool: Pool, ids: string[]): Promise<AttemptRow[][]> {
  const { rows } = await pool.query<AttemptRow>({
    name: 'find-attempts',
    text: `
      SELECT notification_id AS "notificationId", number, provider, started_at AS "startedAt", finished_at AS "finishedAt", class,
        reason, retry_after_seconds AS "retryAfterSeconds", provider_message_id AS "providerMessageId", results
      FROM attempt WHERE ${OF_THESE} ORDER BY number`,
    values: [ids],
  });
  return ids.map((id) => rows.filter(({ notificationId }) => notificationId === id));
}

async function findTimeline(pool: Pool, ids: string[]): Promise<TimelineRow[][]> {
  const { rows } = await pool.query<TimelineRow>({
    name: 'find-timeline',
    text: `SELECT notification_id AS "notificationId", at, event, detail FROM timeline WHERE ${OF_THESE} ORDER BY timeline.id`,
    values: [ids],
  });
  return ids.map((id) => rows.filter(({ notificationId }) => notificationId === id));
}

async function findKeys(pool: Pool, keys: RequestKey[]): Promise<(AcceptedKey | null)[]> {
  const { rows } = await pool.query<AcceptedKey & RequestKey>({
    name: 'find-keys',
    text: `
      SELECT k.client_id AS "clientId", k.request_id AS "requestId", k.notification_id AS id, k.hash
      FROM request_key k JOIN unnest($1::text[], $2::text[]) AS wanted (client_id, request_id) USING (client_id, request_id)`,
    values: [keys.map((key) => key.clientId), keys.map((key) => key.requestId)],
  });
  const found = new Map(rows.map((row) => [nameOf(row), row]));
  return keys.map((key) => found.get(nameOf(key)) ?? null);
}

/**
 * One multi-row statement for the key, the notification, its content, first timeline entries, feed entry and outbox row.
 * Sorted by key, so that two batches with common keys wait for each other instead of deadlocking.
 */
async function acceptBatch(pool: Pool, sends: NewNotification[]): Promise<Acceptance[]> {
  const firstOfKey = new Map<string, NewNotification>();
  for (const send of sends) if (!firstOfKey.has(nameOf(send))) firstOfKey.set(nameOf(send), send);
  const unique = [...firstOfKey.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, send]) => send);

  const outcomes = await insertOrFind(pool, unique);
  return sends.map((send) => {
    const outcome = outcomes.get(nameOf(send));
    if (outcome === undefined) throw new Error(`the request key ${nameOf(send)} was neither inserted nor found`);
    if (outcome.kind === 'failed' || outcome.kind === 'no_user') return outcome;
    const isNew = outcome.kind === 'new' && firstOfKey.get(nameOf(send)) === send;
    return isNew ? outcome : { ...outcome, kind: 'known' };
  });
}

/** A bad item must not take the others of its batch with it: data errors split the batch down to that item. */
async function insertOrFind(pool: Pool, sends: NewNotification[]): Promise<Map<string, Acceptance>> {
  try {
    return await insertOrFindOnce(pool, sends);
  } catch (error) {
    const sqlState = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (sqlState === DEADLOCK) return insertOrFind(pool, sends);
    if (!DATA_ERRORS.some((errorClass) => sqlState.startsWith(errorClass))) throw error;
    const [only] = sends;
    if (sends.length === 1 && only !== undefined) return new Map([[nameOf(only), { kind: 'failed', error }]]);
    const middle = Math.ceil(sends.length / 2);
    return new Map([
      ...(await insertOrFind(pool, sends.slice(0, middle))),
      ...(await insertOrFind(pool, sends.slice(middle))),
    ]);
  }
}

async function insertOrFindOnce(pool: Pool, sends: NewNotification[]): Promise<Map<string, Acceptance>> {
  const outcomes = new Map<string, Acceptance>();
  let rest = sends;
  // A key whose first insert commits while ours waits for it is in neither answer; the second look finds it.
  for (let look = 0; rest.length > 0 && look < MAX_LOOKS; look += 1) {
    const { rows } = await pool.query<AcceptedRow>({
      name: 'accept',
      text: ACCEPT,
      values: [JSON.stringify(rest)],
    });
    for (const row of rows) outcomes.set(nameOf(row), toAcceptance(row));
    rest = rest.filter((send) => !outcomes.has(nameOf(send)));
  }
  return outcomes;
}

function toAcceptance({ id, hash, at }: AcceptedRow): Acceptance {
  if (id === null || hash === null) return { kind: 'no_user' };
  return at === null ? { kind: 'known', id, hash } : { kind: 'new', id, hash, at };
}

type AcceptedRow = RequestKey & { id: string | null; hash: Buffer | null; at: Date | null };

const MAX_LOOKS = 5;
const DEADLOCK = '40P01';
/** Data exceptions, integrity violations, limits exceeded. */
const DATA_ERRORS = ['22', '23', '54'];

const ACCEPT = `
  WITH send AS (
    SELECT * FROM json_to_recordset($1) AS s (
      id uuid, "clientId" text, "requestId" text, hash text, type text, "userId" uuid, "templateCode" text,
      "templateVersion" integer, locale text, priority smallint, "onAmbiguous" text, "sendAt" timestamptz,
      "expiresAt" timestamptz, sensitive boolean, address text, "contactVersion" integer, message text, metadata text, "correlationId" text, trace text)),
  -- Deleted after the send had read of them. See erased_user.
  gone AS (SELECT e.user_id FROM erased_user e JOIN send ON e.user_id = send."userId" FOR KEY SHARE OF e),
  key AS (
    INSERT INTO request_key (client_id, request_id, hash, hash_version, notification_id)
    SELECT "clientId", "requestId", decode(hash, 'hex'), 1, id FROM send WHERE "userId" NOT IN (TABLE gone) ORDER BY "clientId" COLLATE "C", "requestId" COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING notification_id, client_id, request_id, hash),
  fresh AS (SELECT send.* FROM send JOIN key ON key.notification_id = send.id),
  accepted AS (
    INSERT INTO notification (id, client_id, request_id, type, user_id, template_code, template_version, locale, priority,
      on_ambiguous, due_at, expires_at, sensitive, address, contact_version)
    SELECT id, "clientId", "requestId", type, "userId", "templateCode", "templateVersion", locale, priority,
      "onAmbiguous", greatest("sendAt", now()), "expiresAt", sensitive, address, "contactVersion" FROM fresh
    RETURNING id, created_at),
  written AS (
    INSERT INTO content (notification_id, message, metadata, correlation_id, trace)
    SELECT id, message::json, metadata::json, "correlationId", trace FROM fresh),
  noted AS (
    INSERT INTO timeline (notification_id, event, detail)
    SELECT id, entry.event, entry.detail FROM fresh, LATERAL (VALUES
      ('ACCEPTED', json_build_object('templateVersion', "templateVersion", 'locale', locale)),
      ('SCHEDULED', json_build_object('dueAt', "sendAt"))) AS entry (event, detail)
    WHERE entry.event = 'ACCEPTED' OR "sendAt" > now()),
  announced AS (
    INSERT INTO feed_in (notification_id, version, type, user_id, client_id, request_id, status, attempt)
    SELECT id, 1, type, "userId", "clientId", "requestId", 'pending', 0 FROM fresh),
  queued AS (
    INSERT INTO outbox (notification_id, key, priority, due_at)
    SELECT id, type, priority, greatest("sendAt", now()) FROM fresh)
  SELECT key.client_id AS "clientId", key.request_id AS "requestId", key.notification_id AS id, key.hash, now() AS at FROM key
  UNION ALL
  SELECT k.client_id, k.request_id, k.notification_id, k.hash, NULL
  FROM request_key k JOIN send ON k.client_id = send."clientId" AND k.request_id = send."requestId"
  UNION ALL
  SELECT "clientId", "requestId", NULL, NULL, NULL FROM send
  WHERE "userId" IN (TABLE gone) AND NOT EXISTS (
    SELECT FROM request_key k WHERE k.client_id = send."clientId" AND k.request_id = send."requestId")`;

/** Neither part may contain a control character, so this is unambiguous. */
const nameOf = ({ clientId, requestId }: RequestKey) => `${clientId}\n${requestId}`;

export type RequestKey = { clientId: string; requestId: string };
export type AcceptedKey = { id: string; hash: Buffer };

/** A row to insert; names as in ACCEPT. */
export type NewNotification = RequestKey & {
  id: string;
  /** SHA-256 of the caller's input, hex. */
  hash: string;
  type: NotificationType;
  userId: string;
  templateCode: string;
  templateVersion: number;
  locale: string;
  priority: number;
  onAmbiguous: 'resend' | 'fail';
  sendAt: Date | null;
  expiresAt: Date | null;
  sensitive: boolean;
  address: string | null;
  contactVersion: number;
  /** The rendered Message, as JSON. */
  message: string;
  metadata: string;
  correlationId: string;
  /** The traceparent of its acceptance; null while nobody traces. */
  trace: string | null;
};

/** `known`: the key belongs to an earlier send, whose id and hash these are. */
export type Acceptance =
  | { kind: 'new'; id: string; hash: Buffer; at: Date }
  | { kind: 'known'; id: string; hash: Buffer }
  /** The user was deleted meanwhile. */
  | { kind: 'no_user' }
  | { kind: 'failed'; error: unknown };

export type NotificationRow = Prisma.NotificationGetPayload<object>;
export type SuppressionRow = Prisma.SuppressionGetPayload<object>;
export type ProviderRow = {
  type: string;
  name: string;
  state: string;
  reason: string | null;
  changedAt: Date;
  workers: number;
  /** By the best view of it: some worker's jobs would go through. */
  isTaking: boolean;
};
export type AttemptRow = Prisma.AttemptGetPayload<object>;
export type TimelineRow = Omit<Prisma.TimelineGetPayload<object>, 'id'>;
export type { Message };
