import { z } from 'zod';
import { GATEWAY_SERVICE } from '../../contracts/scopes.ts';
import { statusEventSchema, type StatusEvent } from '../../contracts/events.ts';
import { deadlineIn } from '../../platform/deadline.ts';
import type { FeedPlace } from '../../platform/feed-cursor.ts';
import { untilAborted } from '../../platform/lifecycle.ts';
import { refuse, STATUS_OF, unavailable, type Refusal, type RefusalCode } from '../../platform/refusal.ts';
import type { ServiceClient } from '../../platform/service-client.ts';
import type { SignedContext } from '../../platform/trust.ts';

export type FeedFilter = { notificationId?: string; userId?: string; requestId?: string };

/** Some of the feed, in order; everything up to `endSeq` was looked at. */
export type FeedPage = { epoch: string; endSeq: number; hasMore: boolean; events: StatusEvent[] };

export type ReadFeed = (asked: {
  /** Behind which place; null for no events, only where the feed ends. */
  after: FeedPlace | null;
  filter?: FeedFilter;
  /** At most, 1 to 1,000. */
  first: number;
  /** For whom; the gateway itself sees all. */
  context?: SignedContext;
  signal?: AbortSignal;
}) => Promise<FeedPage | Refusal>;

/** Asks the notification service for pages of its feed. Rejects with ServiceUnavailable when it can't be asked. */
export function createFeedReader(service: Pick<ServiceClient, 'graphql'>, timeoutMs: number) {
  const ask = async (query: string, variables: Record<string, unknown>, context: SignedContext) => {
    const { data, errors } = await service.graphql({ query, variables }, context, deadlineIn(timeoutMs));
    const [error] = errors ?? [];
    if (error === undefined) return pageSchema.parse(data?.['page']);
    const code = String(error.extensions?.['code']);
    return isRefusalCode(code) ? refuse(code, error.message, fieldOf(error.extensions)) : unavailable(error.message, 2);
  };

  const readFeed: ReadFeed = ({ after, filter, first, context = OWN_CONTEXT, signal }) =>
    untilAborted(ask(STATUS_EVENTS, { after, filter, first }, context), signal);

  return {
    readFeed,
    /** The state of a notification, or of each with a requestId, as events, and where the feed ended in the same moment. */
    readCurrentStatus: (filter: Pick<FeedFilter, 'notificationId' | 'requestId'>, context: SignedContext) =>
      ask(CURRENT_STATUS, filter, context),
  };
}

export type FeedReader = ReturnType<typeof createFeedReader>;

const fieldOf = (extensions: Record<string, unknown> | undefined) =>
  typeof extensions?.['field'] === 'string' ? extensions['field'] : undefined;

const isRefusalCode = (code: string): code is RefusalCode => code in STATUS_OF;

const OWN_CONTEXT: SignedContext = { viewer: GATEWAY_SERVICE, requestId: 'feed' };

const EVENT = `seq notificationId version type userId clientId requestId status previousStatus reason attempt at`;

const STATUS_EVENTS = `query StatusEvents($after: FeedPlaceInput, $filter: FeedFilter, $first: Int!) {
  page: statusEvents(after: $after, filter: $filter, first: $first) { epoch endSeq hasMore events { ${EVENT} } }
}`;

const CURRENT_STATUS = `query CurrentStatus($notificationId: ID, $requestId: String) {
  page: currentStatus(notificationId: $notificationId, requestId: $requestId) { epoch endSeq hasMore events { ${EVENT} } }
}`;

const pageSchema = z.object({
  epoch: z.uuid(),
  endSeq: z.int().min(0),
  hasMore: z.boolean(),
  // Nothing that led to a state may be kept: it has no number.
  events: z.array(statusEventSchema.extend({ seq: z.int().min(0) })),
});
