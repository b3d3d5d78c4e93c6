import { createPages, type AskedPage, type Connection } from '../../platform/page.ts';
import { isRefusal, refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { NotificationFilter } from './generated/graphql.ts';
import type { ListOwner, NotificationLists, NotificationWhere } from './notification-list.ts';
import type { NotificationRow } from './store.ts';

/** How many one act on many takes. */
const ACT_LIMIT = 1_000;

const pages = createPages<NotificationRow>({ kind: 'notification', keyOf: ({ id }) => id, isKey: isUuid });

/** One page of what a viewer may see, newest first. */
export async function findNotifications(
  lists: NotificationLists,
  filter: NotificationFilter,
  asked: AskedPage,
  viewer: Viewer,
): Promise<Connection<NotificationRow> | Refusal> {
  const where = toWhere(filter, viewer);
  if (isRefusal(where)) return where;
  return pages.read(asked, (after, take) => lists.newest(behind(where, after), take));
}

/** One page of a user's or a template's. Those of many owners in one answer cost one statement. */
export async function findNotificationsOf(
  lists: NotificationLists,
  { owner, key }: { owner: ListOwner; key: string },
  filter: NotificationFilter,
  asked: AskedPage,
  viewer: Viewer,
): Promise<Connection<NotificationRow> | Refusal> {
  const where = toWhere(filter, viewer);
  if (isRefusal(where)) return where;
  return pages.read(asked, (after, take) => lists.newestOf({ owner, key, where: behind(where, after), take }));
}

/** The failed ones that a filter fits, oldest first: the ids of those an act can be done on, and of those it can't. */
export async function findFailed(
  lists: NotificationLists,
  filter: NotificationFilter,
  { limit, act }: { limit: number; act: 'replay' | 'discard' },
  viewer: Viewer,
): Promise<{ kind: 'found'; ids: string[]; others: string[]; hasMore: boolean } | Refusal> {
  if (limit < 1 || limit > ACT_LIMIT)
    return refuse('BAD_USER_INPUT', `limit must be 1 to ${ACT_LIMIT}`, 'limit', 'INVALID');
  const where = toWhere({ ...filter, status: 'FAILED' }, viewer);
  if (isRefusal(where)) return where;
  const idsOf = async (also: NotificationWhere, take: number) =>
    (await lists.oldest({ ...where, ...also }, take)).map((row) => row.id);
  // Those it can't be done on are the oldest: among the others each call would find them again, and nothing else.
  // `refusalOf` in replay-notifications.ts has the last word.
  const [ids, others] = await Promise.all([
    idsOf(act === 'replay' ? { replayable: true } : { notReason: 'DISCARDED' }, limit + 1),
    act === 'replay' ? idsOf({ replayable: false }, limit) : [],
  ]);
  return { kind: 'found', ids: ids.slice(0, limit), others, hasMore: ids.length > limit };
}

const behind = (where: NotificationWhere, after: string | null): NotificationWhere =>
  after === null ? where : { ...where, before: after };

function toWhere(filter: NotificationFilter, viewer: Viewer): NotificationWhere | Refusal {
  if (filter.userId != null && !isUuid(filter.userId))
    return refuse('BAD_USER_INPUT', 'filter.userId must be a UUID', 'filter.userId', 'INVALID');
  for (const [field, max] of [
    ['templateCode', 200],
    ['requestId', 255],
  ] as const) {
    const text = filter[field];
    const fault = text == null ? null : faultOfLine(text, { max });
    if (fault !== null) return refuse('BAD_USER_INPUT', `filter.${field} ${fault}`, `filter.${field}`, 'INVALID');
  }
  return {
    ...visibleTo(viewer),
    ...(filter.status != null && { status: filter.status.toLowerCase() }),
    ...(filter.reasons != null && { reasons: filter.reasons }),
    ...(filter.notificationType != null && { type: filter.notificationType.toLowerCase() }),
    ...(filter.userId != null && { userId: filter.userId.toLowerCase() }),
    ...(filter.templateCode != null && { templateCode: filter.templateCode }),
    ...(filter.requestId != null && { requestId: filter.requestId }),
    ...(filter.scheduled === true && { scheduled: true }),
    ...(filter.since != null && { since: filter.since }),
    ...(filter.until != null && { until: filter.until }),
  };
}

/** As maySee says of one. */
const visibleTo = (viewer: Viewer): NotificationWhere => {
  if (viewer.kind === 'admin') return {};
  return viewer.kind === 'user' ? { recipientId: viewer.id } : { clientId: viewer.id };
};
