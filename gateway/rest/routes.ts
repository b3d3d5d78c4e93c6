import { z } from 'zod';
import { NOTIFICATION_TYPES } from '../../contracts/jobs.ts';
import { MAX_REPORTS, MAX_REPORTS_BYTES, statusReportSchema } from '../../contracts/report.ts';
import { isRefusal, refuse, STATUS_OF, type Fault, type Refusal, type RefusalCode } from '../../platform/refusal.ts';
import { alone } from '../../platform/rest/faults.ts';
import { route, type RestRoute } from '../../platform/rest/route.ts';
import { toCamelKeys, toSnakePath } from '../../platform/rest/spelling.ts';
import * as bodies from './bodies.ts';
import * as operations from './generated/operations.ts';

type ReportBody = { status: string; attempt?: { class: string; results?: { class: string }[] } };
type ManyBody = { filter: bodies.FilterBody };

const MAX_SENDS = 1_000;
const noSuchNotification = refuse('NOT_FOUND', 'there is no such notification');

/** The gateway's REST paths, as the specification spells them: each one a GraphQL operation and two translations. */
export const routes: RestRoute[] = [
  route<
    operations.SendNotificationMutation & operations.SendNotificationsMutation,
    bodies.SendBody | (bodies.SendBody | Refusal)[]
  >({
    method: 'POST',
    path: '/api/v1/notifications/',
    summary: 'Send a notification, or up to 1,000',
    bodyLimit: bodies.MAX_SENDS_BYTES,
    operation: ({ body }) =>
      (Array.isArray(body) ? operations.SendNotificationsDocument : operations.SendNotificationDocument).toString(),
    body: (body) =>
      Array.isArray(body)
        ? z
            .array(alone(bodies.sendSchema))
            .min(1, 'must have 1 to 1000 items')
            .max(MAX_SENDS, 'must have 1 to 1000 items')
        : bodies.sendSchema,
    toVariables: ({ body, headers }) => {
      if (!Array.isArray(body)) {
        const input = bodies.toSendInput(body, headers['idempotency-key']);
        return isRefusal(input) ? input : { input };
      }
      const inputs = body.map(toItem).filter((item) => !isRefusal(item));
      return inputs.length === 0 ? null : { inputs };
    },
    toAnswer: ({ sendNotification, sendNotifications = [] }, { body }) => {
      if (!Array.isArray(body)) return { status: 202, body: toSentBody(sendNotification) };
      const results = sendNotifications.values();
      return {
        status: 202,
        body: body
          .map(toItem)
          .map((item) => (isRefusal(item) ? toRefusedBody(item) : toItemBody(results.next().value))),
      };
    },
  }),

  route<operations.NotificationsQuery>({
    method: 'GET',
    path: '/api/v1/notifications/',
    summary: 'List notifications, newest first',
    operation: operations.NotificationsDocument.toString(),
    query: bodies.listSchema,
    toVariables: ({ query }) => {
      const { first, after, ...filter } = toCamelKeys(query) as Record<string, string>;
      return { filter: bodies.toFilter(filter), first: Number(first ?? 50), after };
    },
    toAnswer: ({ notifications: { edges, pageInfo } }) => ({
      status: 200,
      body: {
        notifications: edges.map(({ node }) => bodies.toNotificationBody(node)),
        next: pageInfo.hasNextPage ? pageInfo.endCursor : null,
      },
    }),
  }),

  route<operations.NotificationQuery>({
    method: 'GET',
    path: '/api/v1/notifications/{notification_id}',
    summary: 'Read a notification',
    operation: operations.NotificationDocument.toString(),
    toVariables: ({ params }) => ({ id: params['notification_id'] }),
    toAnswer: ({ notification }) =>
      notification ? { status: 200, body: bodies.toNotificationBody(notification) } : noSuchNotification,
  }),

  route<operations.AttemptsQuery>({
    method: 'GET',
    path: '/api/v1/notifications/{notification_id}/attempts/',
    summary: 'Every hand-over of a notification to a provider, oldest first',
    operation: operations.AttemptsDocument.toString(),
    toVariables: ({ params }) => ({ id: params['notification_id'] }),
    toAnswer: ({ notification }) =>
      notification
        ? {
            status: 200,
            body: {
              attempts: notification.deliveryAttempts.map((attempt) => ({
                ...attempt,
                outcome: attempt.outcome?.toLowerCase() ?? null,
              })),
            },
          }
        : noSuchNotification,
  }),

  route<operations.CancelNotificationMutation, { reason?: string }>({
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/cancel/',
    summary: 'Cancel a notification that no worker has claimed',
    operation: operations.CancelNotificationDocument.toString(),
    body: bodies.reasonSchema,
    toVariables: ({ params, body }) => ({ id: params['notification_id'], reason: body.reason }),
    toAnswer: ({ cancelNotification: { cancelled, notification } }) => ({
      status: cancelled ? 200 : 409,
      body: { cancelled, ...bodies.toNotificationBody(notification) },
    }),
  }),

  route<operations.CreateStreamTokenMutation>({
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/stream-token/',
    summary: "Get a token for a browser's EventSource on this notification's events",
    operation: operations.CreateStreamTokenDocument.toString(),
    toVariables: ({ params }) => ({ notificationId: params['notification_id'] }),
    toAnswer: ({ createStreamToken: { token, expiresAt } }) => ({
      status: 201,
      body: { streamToken: token, expiresAt },
    }),
  }),

  route<operations.ReplayNotificationMutation, { reason?: string }>({
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/replay/',
    summary: 'Send a failed notification again',
    operation: operations.ReplayNotificationDocument.toString(),
    body: bodies.reasonSchema,
    toVariables: ({ params, body }) => ({ id: params['notification_id'], reason: body.reason }),
    toAnswer: ({ replayNotification }) => ({ status: 202, body: bodies.toNotificationBody(replayNotification) }),
  }),

  route<operations.ReplayNotificationsMutation, ManyBody>({
    method: 'POST',
    path: '/api/v1/notifications/replay/',
    summary: 'Send failed notifications again, by filter, at a rate',
    operation: operations.ReplayNotificationsDocument.toString(),
    body: bodies.replaySchema,
    toVariables: ({ body }) => ({ ...body, filter: bodies.toFilter(body.filter) }),
    toAnswer: ({ replayNotifications }) => ({ status: 202, body: replayNotifications }),
  }),

  route<operations.DiscardNotificationMutation, { reason: string }>({
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/discard/',
    summary: 'End a failed notification as discarded',
    operation: operations.DiscardNotificationDocument.toString(),
    body: bodies.requiredReasonSchema,
    toVariables: ({ params, body }) => ({ id: params['notification_id'], reason: body.reason }),
    toAnswer: ({ discardNotification }) => ({ status: 200, body: bodies.toNotificationBody(discardNotification) }),
  }),

  route<operations.DiscardNotificationsMutation, ManyBody>({
    method: 'POST',
    path: '/api/v1/notifications/discard/',
    summary: 'End failed notifications as discarded, by filter',
    operation: operations.DiscardNotificationsDocument.toString(),
    body: bodies.discardSchema,
    toVariables: ({ body }) => ({ ...body, filter: bodies.toFilter(body.filter) }),
    toAnswer: ({ discardNotifications }) => ({ status: 200, body: discardNotifications }),
  }),

  route<operations.ReportStatusMutation, ReportBody | ReportBody[]>({
    method: 'POST',
    path: '/api/v1/{notification_type}/status/',
    summary: 'Report what became of one notification, or of up to 100',
    operation: operations.ReportStatusDocument.toString(),
    bodyLimit: MAX_REPORTS_BYTES,
    body: (body) =>
      Array.isArray(body)
        ? z
            .array(statusReportSchema)
            .min(1, 'must have 1 to 100 reports')
            .max(MAX_REPORTS, 'must have 1 to 100 reports')
        : statusReportSchema,
    toVariables: ({ params, body }) => {
      const type = NOTIFICATION_TYPES.find((known) => known === params['notification_type']);
      if (type === undefined) {
        return refuse(
          'NOT_FOUND',
          `there is no notification type ${params['notification_type']}; there are email and push`,
        );
      }
      return { notificationType: type.toUpperCase(), reports: [body].flat().map(toReport) };
    },
    toAnswer: ({ reportStatus }, { body }) => {
      const answers = reportStatus.map(({ status, ...rest }) => ({ ...rest, status: status?.toLowerCase() }));
      if (Array.isArray(body)) return { status: 200, body: answers };
      const [answer] = answers;
      if (answer?.code === 404)
        return refuse('NOT_FOUND', answer.message ?? 'there is no such notification', 'notificationId');
      if (answer?.code === 409) return refuse('CONFLICT', answer.message ?? 'the report came too late');
      return { status: 200, body: answer };
    },
  }),
];

const toSentBody = ({ notification, duplicate }: operations.SendNotificationMutation['sendNotification']) => ({
  notificationId: notification.id,
  status: notification.status.toLowerCase(),
  requestId: notification.requestId,
  duplicate,
});

/** One of many: its input, or why it has none. One Idempotency-Key can't name many sends. */
const toItem = (item: bodies.SendBody | Refusal) => (isRefusal(item) ? item : bodies.toSendInput(item, undefined));

const toItemBody = (result: operations.SendNotificationsMutation['sendNotifications'][number] | undefined) =>
  result?.notification
    ? toSentBody({ duplicate: result.duplicate, notification: result.notification })
    : toRefusedBody({ code: 'INTERNAL', message: '', ...result?.error });

/** One that was refused, its field in the caller's spelling. */
const toRefusedBody = (error: { code: string; message: string; field?: string | null; faults?: Fault[] }) => {
  const given = error.field ?? error.faults?.[0]?.field ?? null;
  const field = given === null ? null : toSnakePath(given);
  return {
    status: STATUS_OF[error.code as RefusalCode] ?? 500,
    code: error.code,
    field,
    message: given === null || field === null ? error.message : error.message.replaceAll(given, field),
  };
};

const upperClass = <T extends { class: string }>(item: T) => ({ ...item, class: item.class.toUpperCase() });

const toReport = ({ status, attempt, ...rest }: ReportBody) => ({
  ...rest,
  status: status.toUpperCase(),
  ...(attempt !== undefined && {
    attempt: { ...upperClass(attempt), ...(attempt.results && { results: attempt.results.map(upperClass) }) },
  }),
});
