import { isRefusal, refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { Prisma } from '../../prisma/notification/generated/client.ts';
import type { NotificationFilter } from './generated/graphql.ts';
import { idFloor } from './id-floor.ts';
import { readPage, type Page } from './id-page.ts';
import type { NotificationRow, NotificationStore } from './store.ts';

/** How many one act on many takes. */
const ACT_LIMIT = 1_000;

/** One page of what a viewer may see, newest first. */
export async function findNotifications(
  store: NotificationStore,
  filter: NotificationFilter,
  asked: { first: number; after: string | null },
  viewer: Viewer,
): Promise<Page<NotificationRow> | Refusal> {
  const where = toWhere(filter, viewer);
  if (isRefusal(where)) return where;
  return readPage(asked, (before, take) =>
    store.findMany({ AND: [where, before === null ? {} : { id: { lt: before } }] }, 'desc', take),
  );
}

/** The failed ones that a filter fits, oldest first: the ids of those an act can be done on, and of those it can't. */
export async function findFailed(
  store: NotificationStore,
  filter: NotificationFilter,
  { limit, act }: { limit: number; act: 'replay' | 'discard' },
  viewer: Viewer,
): Promise<{ kind: 'found'; ids: string[]; others: string[]; hasMore: boolean } | Refusal> {
  if (limit < 1 || limit > ACT_LIMIT)
    return refuse('BAD_USER_INPUT', `limit must be 1 to ${ACT_LIMIT}`, 'limit', 'INVALID');
  const where = toWhere({ ...filter, status: 'FAILED' }, viewer);
  if (isRefusal(where)) return where;
  const idsOf = async (also: Prisma.NotificationWhereInput, take: number) =>
    (await store.findMany({ AND: [where, also] }, 'asc', take)).map((row) => row.id);
  // Those it can't be done on are the oldest: among the others each call would find them again, and nothing else.
  const [ids, others] = await Promise.all([
    idsOf(act === 'replay' ? replayable() : { NOT: { reason: 'DISCARDED' } }, limit + 1),
    act === 'replay' ? idsOf({ NOT: replayable() }, limit) : [],
  ]);
  return { kind: 'found', ids: ids.slice(0, limit), others, hasMore: ids.length > limit };
}

/** As `refusalOf` in replay-notifications.ts, which has the last word. */
const replayable = (): Prisma.NotificationWhereInput => ({
  content: { isNot: null },
  OR: [{ expiresAt: null }, { expiresAt: { gt: new Date() } }],
});

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
