import { DateTimeResolver, JSONObjectResolver, SafeIntResolver } from 'graphql-scalars';
import { FEEDBACK_KINDS, feedbackEventSchema, type FeedbackEvent } from '../../contracts/feedback.ts';
import { isFailureReason, REPLAYED_REASONS, type FailureReason } from '../../contracts/failure-reason.ts';
import type { NotificationType } from '../../contracts/jobs.ts';
import {
  MAX_PROVIDER_MESSAGE_ID,
  MAX_REASON,
  MAX_RETRY_AFTER_SECONDS,
  OUTCOME_CLASSES,
  STATUSES,
  type OutcomeClass,
  type Status,
  type TargetResult,
} from '../../contracts/report.ts';
import type { Logger } from '../../platform/logger.ts';
import { UNEXPECTED } from '../../platform/mask-error.ts';
import type { Pool } from '../../platform/postgres.ts';
import { readAudit } from '../../platform/audit.ts';
import { orThrow, refuse, toGraphQLError, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid, toStorable } from '../../platform/text.ts';
import type { StreamTokens } from '../../platform/stream-token.ts';
import type { Viewer } from '../../platform/trust.ts';
import { cancelNotification } from './cancel-notification.ts';
import type { Cursors } from '../../platform/feed-cursor.ts';
import { discardNotification, discardNotifications } from './discard-notifications.ts';
import { eraseUser } from './erase-user.ts';
import { explainSend } from './explain-send.ts';
import { findStats } from './find-stats.ts';
import { findFailed, findNotifications, findNotificationsOf } from './find-notifications.ts';
import type { FindWhereabouts } from './find-whereabouts.ts';
import type * as graph from './generated/graphql.ts';
import { maySee } from './may-see.ts';
import type { NotificationLists } from './notification-list.ts';
import { mayKnowWords, mayLookInside, withoutInside, withoutReason, withoutWords } from './operators-words.ts';
import type { Peers } from './peers.ts';
import { readCurrentStatus, readFeed, readFeedFrom } from './read-feed.ts';
import { recordFeedback } from './record-feedback.ts';
import { replayNotification, replayNotifications } from './replay-notifications.ts';
import { reportStatus, type Report, type ReportDependencies } from './report-status.ts';
import { sendNotification } from './send-notification.ts';
import { sendNotifications, type Failed } from './send-notifications.ts';
import type { NotificationRow, NotificationStore } from './store.ts';
import { findSuppressions, suppress } from './suppressions.ts';
import type { UnsubscribeLinks } from './unsubscribe-link.ts';
import { unsubscribe } from './unsubscribe.ts';
import { whyNotSent } from './why-not-sent.ts';

export type ResolverDependencies = {
  pool: Pool;
  store: NotificationStore;
  lists: NotificationLists;
  peers: Peers;
  cursors: Cursors;
  streamTokens: Pick<StreamTokens, 'toToken'>;
  links: UnsubscribeLinks;
  reports: ReportDependencies;
  log: Logger;
  findWhereabouts: FindWhereabouts;
  isTraced: boolean;
  isBrokerUp: () => boolean;
  onAccepted: (type: NotificationType) => void;
};

/** There is one. */
const AUDIT_TRAIL = { id: 'herald' };

export const createResolvers = (deps: ResolverDependencies): graph.Resolvers => {
  const { pool, store, lists } = deps;
  const { counters } = deps.reports;

  const findVisible = async (id: string, viewer: Viewer): Promise<NotificationRow | null> => {
    const notification = isUuid(id) ? await store.findNotification(id) : null;
    return notification !== null && maySee(viewer, notification) ? notification : null;
  };
  /** For the answer of a mutation that has just found it. */
  const readBack = async (id: string): Promise<NotificationRow> => {
    const notification = await store.findNotification(id);
    if (notification === null) throw new Error(`the notification ${id} is gone`);
    return notification;
  };

  return {
    DateTime: DateTimeResolver,
    JSONObject: JSONObjectResolver,
    FeedNumber: SafeIntResolver,
    Query: {
      notification: (_, { id }, { viewer }) => findVisible(id, viewer),
      notifications: async (_, { filter, ...asked }, { viewer }) => {
        return orThrow(await findNotifications(lists, filter ?? {}, asked, viewer));
      },
      providers: async () => {
        return store.findProviders();
      },
      suppressions: async (_, { first, after, ...filter }) => {
        return orThrow(await findSuppressions(store, filter, { first, after }));
      },
      notificationStats: async (_, { since, until, bucket, notificationType }, { viewer }) => {
        const wanted = {
          since,
          until: until ?? null,
          bucket: bucket === 'DAY' ? ('day' as const) : ('hour' as const),
          type: notificationType == null ? null : typeOf[notificationType],
        };
        return orThrow(await findStats(pool, wanted, viewer)).buckets;
      },
      explainSend: async (_, { input }, context) => {
        return orThrow(await explainSend(deps, input, context));
      },
      statusEvents: async (_, { after, filter, first }, { viewer }) =>
        orThrow(await readFeedFrom(pool, { place: after ?? null, filter: toFeedFilter(filter), first }, viewer)),
      currentStatus: async (_, filter, { viewer }) =>
        orThrow(await readCurrentStatus(pool, deps.reports.onChanged, toFeedFilter(filter), viewer)),
      statusEvent: (_, { event }) => event,
      isUnsubscribeToken: (_, { token }) => {
        return deps.links.parseToken(token) !== null;
      },
      feed: async (_, { after, filter, first }, { viewer }) => {
        const asked = { after: after ?? null, filter: toFeedFilter(filter), first };
        const page = orThrow(await readFeed(pool, deps.cursors, asked, viewer));
        const { epoch } = page;
        return {
          events: page.events.map((event) => ({
            ...event,
            cursor: deps.cursors.toCursor({ epoch, seq: event.seq }),
            status: statusToGraph[event.status],
            previousStatus: event.previousStatus === null ? null : statusToGraph[event.previousStatus],
            reason: toReason(event.reason),
          })),
          endCursor: deps.cursors.toCursor({ epoch, seq: page.endSeq }),
          hasMore: page.hasMore,
        };
      },
    },
    Subscription: {
      // Planned and executed by the gateway, which has the events: this service holds no connections of clients.
      notificationStatusChanged: {
        subscribe: () => {
          throw new Error('subscriptions are executed by the gateway');
        },
      },
    },
    NotificationStatusEvent: {
      notification: async ({ notificationId }, _, { viewer }) => {
        const notification = await findVisible(notificationId, viewer);
        if (notification === null)
          throw toGraphQLError(refuse('NOT_FOUND', 'the notification is no longer kept', 'notification', 'GONE'));
        return notification;
      },
    },
    Mutation: {
      createStreamToken: async (_, { notificationId }, { viewer }) => {
        const notification = await findVisible(notificationId, viewer);
        if (notification === null)
          throw toGraphQLError(
            refuse('NOT_FOUND', 'notificationId: there is no such notification', 'notificationId', 'NOT_FOUND'),
          );
        const expiresAt = new Date(Date.now() + STREAM_TOKEN_MS);
        return { token: deps.streamTokens.toToken({ viewer, notificationId: notification.id, expiresAt }), expiresAt };
      },
      sendNotification: async (_, { input }, context) => {
        return orThrow(await sendNotification(deps, input, context));
      },
      sendNotifications: async (_, { inputs }, context) => {
        const results = orThrow(await sendNotifications(deps, inputs, context));
        return results.map((result) =>
          result.kind === 'sent'
            ? { ...result, error: null }
            : { notification: null, duplicate: false, error: toSendError(result) },
        );
      },
      cancelNotification: async (_, { id, reason }, { viewer }) => {
        requireLine(reason);
        const { cancelled } = orThrow(await cancelNotification({ pool, counters }, id, reason ?? null, viewer));
        return { cancelled, notification: await readBack(id) };
      },
      replayNotification: async (_, { id, reason }, { viewer }) => {
        requireLine(reason);
        orThrow(await replayNotification(pool, id, reason ?? null, viewer));
        deps.reports.onQueued();
        return readBack(id);
      },
      replayNotifications: async (_, { filter, perSecond, limit, reason }, { viewer }) => {
        requireLine(reason);
        if (perSecond < 1)
          throw toGraphQLError(refuse('BAD_USER_INPUT', 'perSecond must be at least 1', 'perSecond', 'INVALID'));
        const wanted = { ...filter, reasons: filter.reasons ?? REPLAYED_REASONS };
        const { ids, others, hasMore } = orThrow(await findFailed(lists, wanted, { limit, act: 'replay' }, viewer));
        const { replayed, refused, lastDueAt } = await replayNotifications(
          pool,
          [...ids, ...others],
          perSecond,
          reason ?? null,
          viewer,
        );
        deps.reports.onQueued();
        return { replayed: replayed.length, refused, hasMore, lastDueAt };
      },
      discardNotification: async (_, { id, reason }, { viewer }) => {
        requireLine(reason);
        orThrow(await discardNotification(pool, id, reason, viewer));
        return readBack(id);
      },
      discardNotifications: async (_, { filter, reason, limit }, { viewer }) => {
        requireLine(reason);
        const { ids, hasMore } = orThrow(await findFailed(lists, filter, { limit, act: 'discard' }, viewer));
        return { discarded: (await discardNotifications(pool, ids, reason, viewer)).length, hasMore };
      },
      suppress: async (_, { input }, { viewer }) => {
        return orThrow(await suppress(store, input, viewer));
      },
      unsuppress: (_, { id }) => {
        return isUuid(id) ? store.deleteSuppression(id) : false;
      },
      eraseUser: (_, { userId }, { viewer }) => {
        if (!isUuid(userId))
          throw toGraphQLError(refuse('BAD_USER_INPUT', 'userId must be a UUID', 'userId', 'INVALID'));
        return eraseUser({ pool, counters }, userId, viewer);
      },
      recordFeedback: async (_, { events }, { requestId }) => {
        const recorded = await recordFeedback(
          { ...deps.reports, peers: deps.peers },
          events.map(toFeedback),
          requestId,
        );
        return orThrow(recorded).count;
      },
      unsubscribe: (_, { token }) => {
        return unsubscribe(store, deps.links, token);
      },
      reportStatus: async (_, { notificationType, reports }, { viewer }) => {
        const results = orThrow(
          await reportStatus(deps.reports, typeOf[notificationType], reports.map(toReport), viewer),
        );
        return results.map((result) => ({
          ...result,
          status: result.status === null ? null : statusToGraph[result.status],
        }));
      },
    },
    Notification: {
      __resolveReference: ({ id }, { viewer }) => findVisible(id, viewer),
      notificationType: ({ type }) => typeToGraph[type as NotificationType],
      status: ({ status }) => statusToGraph[status as Status],
      reason: ({ reason }) => toReason(reason),
      dueAt: ({ status, dueAt }) => (status === 'pending' ? dueAt : null),
      metadata: async ({ id }) => ((await store.findContent(id))?.metadata ?? {}) as Record<string, unknown>,
      user: ({ userId }) => ({ id: userId }),
      template: ({ templateCode }) => ({ code: templateCode }),
      timeline: ({ id }) => store.findTimeline(id),
      deliveryAttempts: ({ id }) => store.findAttempts(id),
      whyNotSent: async ({ id, status }, _, { viewer }) => {
        // One that was delivered meanwhile is not found.
        const found = status === 'delivered' ? null : await deps.findWhereabouts(id);
        if (found === null) return null;
        const seen = mayLookInside(viewer) ? found : withoutInside(found);
        const told = mayKnowWords(viewer)
          ? seen
          : { ...seen, providers: seen.providers.map(withoutReason), suppression: withoutWords(seen.suppression) };
        return whyNotSent(told, deps.isBrokerUp());
      },
    },
    DeliveryAttempt: {
      outcome: (attempt) => (attempt.class === null ? null : (attempt.class.toUpperCase() as graph.OutcomeClass)),
      results: ({ results }) =>
        ((results ?? []) as TargetResult[]).map((result) => ({
          ...result,
          outcome: result.class.toUpperCase() as graph.OutcomeClass,
        })),
    },
    User: {
      // A host application's subgraph may name anything; one such id would fail the statement for all of a page.
      __resolveReference: ({ id }) => (isUuid(id) ? { id: id.toLowerCase() } : null),
      notifications: async ({ id }, { filter, ...asked }, { viewer }) => {
        const owned = { owner: 'user', key: id } as const;
        return orThrow(await findNotificationsOf(lists, owned, filter ?? {}, asked, viewer));
      },
    },
    Template: {
      __resolveReference: ({ code }) =>
        typeof code === 'string' && faultOfLine(code, { max: 200 }) === null ? { code } : null,
      notifications: async ({ code }, { filter, ...asked }, { viewer }) => {
        const owned = { owner: 'template', key: code } as const;
        return orThrow(await findNotificationsOf(lists, owned, filter ?? {}, asked, viewer));
      },
    },
    AuditTrail: {
      __resolveReference: () => AUDIT_TRAIL,
      notifications: async (_, asked) => orThrow(await readAudit(pool, asked)),
    },
    TimelineEntry: {
      event: ({ event }) => event as graph.TimelineEvent,
      detail: ({ detail }) => detail as Record<string, unknown> | null,
    },
    SendExplanation: {
      message: ({ message }) =>
        message && (message.type === 'email' ? { email: message, push: null } : { email: null, push: message }),
    },
    SendRefusal: {
      field: ({ faults }) => faults[0]?.field ?? null,
      errors: ({ faults }) => faults,
    },
    NotificationStatsBucket: { notificationType: ({ type }) => typeToGraph[type] },
    Suppression: { notificationType: ({ type }) => typeToGraph[type as NotificationType] },
    Provider: {
      notificationType: ({ type }) => typeToGraph[type as NotificationType],
      state: ({ state }) => state.toUpperCase() as graph.CircuitState,
    },
  };
};

/** Long enough for a page to open its stream, too short to be of use in somebody's log. */
const STREAM_TOKEN_MS = 60_000;

const toFeedFilter = (filter: graph.InputMaybe<graph.FeedFilter> | undefined) => ({
  notificationId: filter?.notificationId ?? null,
  userId: filter?.userId ?? null,
  requestId: filter?.requestId ?? null,
});

/** A person's words for the timeline. */
function requireLine(reason: string | null | undefined): void {
  const fault = reason == null ? null : faultOfLine(reason, { max: 1_000 });
  if (fault !== null) throw toGraphQLError(refuse('BAD_USER_INPUT', `reason ${fault}`, 'reason', 'INVALID'));
}

const toSendError = (result: Refusal | Failed): graph.SendNotificationError =>
  result.kind === 'failed'
    ? { code: 'INTERNAL', message: UNEXPECTED }
    : { code: result.code, message: result.message, field: result.faults[0]?.field };

const toReport = ({ notificationId, status, error, attempt }: graph.StatusReportInput): Report => ({
  notificationId,
  status: fromGraph(STATUSES, status),
  error: toKept(error, MAX_REASON),
  attempt: attempt
    ? {
        token: attempt.token,
        class: fromGraph<OutcomeClass>(OUTCOME_CLASSES, attempt.class),
        reason: toKept(attempt.reason ?? error, MAX_REASON),
        retryAfterSeconds:
          attempt.retryAfterSeconds == null ? null : Math.min(attempt.retryAfterSeconds, MAX_RETRY_AFTER_SECONDS),
        providerMessageId: toKept(attempt.providerMessageId, MAX_PROVIDER_MESSAGE_ID),
        results:
          attempt.results?.map((result) => ({
            target: result.target,
            class: fromGraph<OutcomeClass>(OUTCOME_CLASSES, result.class),
            ...(result.reason != null && { reason: toStorable(result.reason, MAX_REASON) }),
          })) ?? null,
      }
    : null,
});

function toFeedback({ kind, at, ...event }: graph.FeedbackEventInput): FeedbackEvent {
  const parsed = feedbackEventSchema.safeParse({
    ...event,
    kind: fromGraph(FEEDBACK_KINDS, kind),
    eventId: toStorable(event.eventId),
    notificationId: event.notificationId ?? null,
    providerMessageId: toKept(event.providerMessageId, 1_000),
    address: toKept(event.address, 4_096),
    reason: toKept(event.reason, 1_000),
    at: at.toISOString(),
  });
  if (parsed.success) return parsed.data;
  throw toGraphQLError(refuse('BAD_USER_INPUT', `events: ${parsed.error.message}`, 'events', 'INVALID'));
}

/** What is odd in a provider's words, or too long, must not refuse a whole batch of reports. */
const toKept = (text: string | null | undefined, max: number) => (text == null ? null : toStorable(text, max));

/** The graph spells enum values in upper case, everything else in lower case. */
function fromGraph<Value extends string>(values: readonly Value[], name: string): Value {
  const found = values.find((value) => value.toUpperCase() === name);
  if (found === undefined) throw new Error(`${name} is in the schema and not in contracts/`);
  return found;
}

const toReason = (reason: string | null): FailureReason | null => (isFailureReason(reason) ? reason : null);

const typeOf = { EMAIL: 'email', PUSH: 'push' } as const satisfies Record<graph.NotificationType, NotificationType>;

const typeToGraph = { email: 'EMAIL', push: 'PUSH' } as const satisfies Record<
  NotificationType,
  graph.NotificationType
>;

const statusToGraph = { pending: 'PENDING', delivered: 'DELIVERED', failed: 'FAILED' } as const satisfies Record<
  Status,
  graph.NotificationStatus
>;
