import type { FailureReason } from '../../contracts/failure-reason.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { Prisma } from '../../prisma/notification/generated/client.ts';
import type { NotificationFilter } from './generated/graphql.ts';
import { idFloor } from './id-floor.ts';
import { readPage, type Page } from './id-page.ts';
import type { NotificationRow, NotificationStore } from './store.ts';

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
