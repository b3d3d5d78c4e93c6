import { createBatcher } from '../../platform/batch.ts';
import type { Pool } from '../../platform/postgres.ts';
import type { NotificationRow } from './store.ts';

/** Which notifications; everything that is set must hold. */
export type NotificationWhere = {
  clientId?: string;
  userId?: string;
  templateCode?: string;
  type?: string;
  status?: string;
  reasons?: readonly string[];
  notReason?: string;
  requestId?: string;
  /** Waits for a moment to be sent at. */
  scheduled?: boolean;
  /** Its content is there, and its deadline has not passed. */
  replayable?: boolean;
  /** Accepted at or after, accepted before. */
  since?: Date;
  until?: Date;
  /** Only smaller ids. */
  before?: string;
  /** The user who asks: of others' notifications they learn nothing. */
  recipientId?: string;
};

/** What this service knows of them; the others know the rest. */
export type UserReference = { id: string };
export type TemplateReference = { code: string };

/** Whose list it is. */
export type ListOwner = 'user' | 'template';

/** Reads lists of notifications by id, with the statement that their filter needs and no more. */
export function createNotificationLists(pool: Pool) {
  const find = async (where: NotificationWhere, order: 'ASC' | 'DESC', take: number): Promise<NotificationRow[]> => {
    const values: unknown[] = [];
    const condition = toCondition(where, values);
    const text = `SELECT ${COLUMNS} FROM notification n WHERE ${condition} ORDER BY n.id ${order} LIMIT ${place(values, take)}`;
    return (await pool.query<NotificationRow>(text, values)).rows;
  };

  const findOf = createBatcher(
    async (asked: OwnedList[]): Promise<NotificationRow[][]> => {
      const groups = Map.groupBy(asked, ({ owner, where, take }) => JSON.stringify([owner, where, take]));
      const rows = new Map(
        await Promise.all([...groups].map(async ([name, lists]) => [name, await findGroup(pool, lists)] as const)),
      );
      return asked.map(({ owner, key, where, take }) =>
        (rows.get(JSON.stringify([owner, where, take])) ?? []).filter((row) => row[OWNER_FIELD[owner]] === key),
      );
    },
    { maxItems: 200, maxInFlight: 4 },
  );

  return {
    newest: (where: NotificationWhere, take: number) => find(where, 'DESC', take),
    oldest: (where: NotificationWhere, take: number) => find(where, 'ASC', take),
    /** The newest of one user or template. One statement for any number of owners that are asked for alike. */
    newestOf: findOf,
  };
}

export type NotificationLists = ReturnType<typeof createNotificationLists>;

type OwnedList = { owner: ListOwner; key: string; where: NotificationWhere; take: number };

async function findGroup(pool: Pool, lists: OwnedList[]): Promise<NotificationRow[]> {
  const [first] = lists;
  if (first === undefined) return [];
  const { owner, where, take } = first;
  const values: unknown[] = [[...new Set(lists.map(({ key }) => key))]];
  const condition = toCondition(where, values);
  const { rows } = await pool.query<NotificationRow>(
    `SELECT of_owner.* FROM unnest($1::${OWNER_TYPE[owner]}[]) AS owner (key), LATERAL (
       SELECT ${COLUMNS} FROM notification n WHERE n.${OWNER_COLUMN[owner]} = owner.key AND ${condition}
       ORDER BY n.id DESC LIMIT ${place(values, take)}) AS of_owner`,
    values,
  );
  return rows;
}

const OWNER_COLUMN = { user: 'user_id', template: 'template_code' };
const OWNER_TYPE = { user: 'uuid', template: 'text' };
const OWNER_FIELD = { user: 'userId', template: 'templateCode' } as const;

function toCondition(where: NotificationWhere, values: unknown[]): string {
  const of = (value: unknown) => place(values, value);
  const { clientId, requestId } = where;
  const conditions = [
    'true',
    clientId !== undefined && `n.client_id = ${of(clientId)}`,
    where.recipientId !== undefined && `n.user_id = ${of(where.recipientId)}::uuid`,
    where.userId !== undefined && `n.user_id = ${of(where.userId)}::uuid`,
    where.templateCode !== undefined && `n.template_code = ${of(where.templateCode)}`,
    where.type !== undefined && `n.type = ${of(where.type)}`,
    where.status !== undefined && `n.status = ${of(where.status)}`,
    where.reasons !== undefined && `n.reason = ANY (${of(where.reasons)}::text[])`,
    where.notReason !== undefined && `n.reason <> ${of(where.notReason)}`,
    // By the key that is indexed, instead of through all that the client ever sent.
    requestId !== undefined &&
      `n.id IN (SELECT k.notification_id FROM request_key k WHERE k.request_id = ${of(requestId)}${clientId === undefined ? '' : ` AND k.client_id = ${of(clientId)}`})`,
    where.scheduled === true && `n.status = 'pending' AND n.attempts = 0 AND n.due_at > now()`,
    where.replayable !== undefined &&
      `${where.replayable ? '' : 'NOT '}(${HAS_CONTENT} AND (n.expires_at IS NULL OR n.expires_at > now()))`,
    where.since !== undefined && `n.created_at >= ${of(where.since)}`,
    where.since !== undefined && `n.id >= ${of(idFloor(shifted(where.since, -ID_CLOCK_MS)))}::uuid`,
    where.until !== undefined && `n.created_at < ${of(where.until)}`,
    where.until !== undefined && `n.id < ${of(idFloor(shifted(where.until, ID_CLOCK_MS)))}::uuid`,
    where.before !== undefined && `n.id < ${of(where.before)}::uuid`,
  ];
  return conditions.filter((condition) => condition !== false).join(' AND ');
}

/**
 * An id carries the clock of the process that made it, a little before the database accepted it by its own. So times are compared
 * with the database's, and the ids, by which the partitions are cut, with this much of room.
 */
const ID_CLOCK_MS = 5 * 60_000;

const shifted = (moment: Date, ms: number) => new Date(moment.getTime() + ms);

/** The smallest UUIDv7 of a moment. */
function idFloor(moment: Date): string {
  const hex = Math.max(0, moment.getTime()).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

const HAS_CONTENT = 'EXISTS (SELECT FROM content WHERE content.notification_id = n.id)';

/** Adds a parameter. @returns its name in the statement */
const place = (values: unknown[], value: unknown) => `$${values.push(value)}`;

/** The columns of a NotificationRow, by its names. */
const COLUMNS = [
  'id',
  'type',
  'locale',
  'priority',
  'status',
  'reason',
  'version',
  'attempts',
  'sensitive',
  'client_id AS "clientId"',
  'request_id AS "requestId"',
  'user_id AS "userId"',
  'template_code AS "templateCode"',
  'template_version AS "templateVersion"',
  'on_ambiguous AS "onAmbiguous"',
  'due_at AS "dueAt"',
  'expires_at AS "expiresAt"',
  'created_at AS "createdAt"',
  'updated_at AS "updatedAt"',
]
  .map((column) => `n.${column}`)
  .join(', ');
