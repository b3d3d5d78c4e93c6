import type { FailureReason } from '../../contracts/failure-reason.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { Prisma } from '../../prisma/notification/generated/client.ts';
import type { NotificationFilter } from './generated/graphql.ts';
import { idFloor } from './id-floor.ts';
import type { NotificationRow, NotificationStore } from './store.ts';

const MAX_PAGE = 200;

export type Page = { kind: 'page'; rows: NotificationRow[]; hasNextPage: boolean; hasPreviousPage: boolean };

/** One page of what a viewer may see, newest first. `after` is the last id of the page before, as `toCursor` made it. */
export async function findNotifications(
  store: NotificationStore,
  filter: NotificationFilter,
  { first, after }: { first: number; after: string | null },
  viewer: Viewer,
): Promise<Page | Refusal> {
  if (first < 1 || first > MAX_PAGE)
    return refuse('BAD_USER_INPUT', `first must be 1 to ${MAX_PAGE}`, 'first', 'INVALID');
  const before = after === null ? null : parseCursor(after);
  if (before === undefined)
    return refuse('BAD_USER_INPUT', 'after must be the cursor of a page before', 'after', 'INVALID');

  const where = toWhere(filter, viewer);
  if (isRefusal(where)) return where;
  const rows = await store.findMany({ AND: [where, before === null ? {} : { id: { lt: before } }] }, 'desc', first + 1);
  return {
    kind: 'page',
    rows: rows.slice(0, first),
    hasNextPage: rows.length > first,
    hasPreviousPage: before !== null,
  };
}

/** The ids that a filter fits, oldest first; without those that ended for the reason `except`. */
export async function findIds(
  store: NotificationStore,
  filter: NotificationFilter,
  limit: number,
  viewer: Viewer,
  except: FailureReason | null = null,
): Promise<string[] | Refusal> {
  const where = toWhere(filter, viewer);
  if (isRefusal(where)) return where;
  const others = except === null ? {} : { NOT: { reason: except } };
  return (await store.findMany({ AND: [where, others] }, 'asc', limit)).map((row) => row.id);
}

export const toCursor = (row: NotificationRow): string =>
  Buffer.from(row.id.replaceAll('-', ''), 'hex').toString('base64url');

/** Undefined when it is no cursor of ours. */
function parseCursor(cursor: string): string | undefined {
  const hex = Buffer.from(cursor, 'base64url').toString('hex');
  return hex.length === 32 ? hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5') : undefined;
}

function toWhere(filter: NotificationFilter, viewer: Viewer): Prisma.NotificationWhereInput | Refusal {
  if (filter.userId != null && !isUuid(filter.userId))
    return refuse('BAD_USER_INPUT', 'filter.userId must be a UUID', 'filter.userId', 'INVALID');
  return {
    ...(viewer.kind !== 'admin' && { clientId: viewer.id }),
    ...(filter.status != null && { status: filter.status.toLowerCase() }),
    ...(filter.reasons != null && { reason: { in: filter.reasons } }),
    ...(filter.notificationType != null && { type: filter.notificationType.toLowerCase() }),
    ...(filter.userId != null && { userId: filter.userId.toLowerCase() }),
    ...(filter.templateCode != null && { templateCode: filter.templateCode }),
    ...(filter.requestId != null && { requestId: filter.requestId }),
    ...(filter.scheduled === true && { status: 'pending', attempts: 0, dueAt: { gt: new Date() } }),
    // By id, because the ids carry the time and the partitions are cut by them.
    id: {
      ...(filter.since != null && { gte: idFloor(filter.since) }),
      ...(filter.until != null && { lt: idFloor(filter.until) }),
    },
  };
}

const isRefusal = (value: object): value is Refusal => 'kind' in value;
