import { z } from 'zod';
import { NOTIFICATION_TYPES } from '../contracts/jobs.ts';
import { MAX_REPORTS, MAX_REPORTS_BYTES, OUTCOME_CLASSES, statusReportSchema } from '../contracts/report.ts';
import { isRefusal, refuse, type Refusal } from '../platform/refusal.ts';
import { route, type RestRoute } from '../platform/rest/route.ts';
import { toCamelKeys } from '../platform/rest/spelling.ts';
import * as fields from './fields.ts';
import * as operations from './generated/operations.ts';
import * as bodies from './notification-bodies.ts';

type ReportBody = { status: string; attempt?: { class: string; results?: { class: string }[] } };
type ManyBody = { filter: bodies.FilterBody };

const MAX_SENDS = 1_000;
/** Of one send, or of up to 1,000, over REST and GraphQL. */
export const MAX_SENDS_BYTES = 2 * 1024 * 1024;

const noSuchNotification = refuse('NOT_FOUND', 'there is no such notification');

const reasonSchema = z
  .strictObject({ reason: fields.reason.max(1_000).optional() })
  .meta({ id: 'Reason', description: 'Why, if anybody should know.' });
const requiredReasonSchema = z
  .strictObject({ reason: fields.reason.max(1_000) })
  .meta({ id: 'RequiredReason', description: 'Why; operators want to know later.' });

const limit = z.int().min(1).max(1_000).default(1_000).meta({ description: 'At most so many by this request.' });

const replaySchema = z
  .strictObject({
    filter: bodies.filterSchema,
    per_second: z.int().min(1).max(1_000).default(50).meta({ description: 'How fast they go out.' }),
    limit,
    reason: fields.reason.max(1_000).optional(),
  })
  .meta({ id: 'ReplayMany', description: 'Which failed notifications to send again, and how fast.' });

const discardSchema = z
  .strictObject({ filter: bodies.filterSchema, limit, reason: fields.reason.max(1_000) })
  .meta({ id: 'DiscardMany', description: 'Which failed notifications to end for good.' });

const attemptSchema = z
  .strictObject({
    number: z.int().meta({ description: '1 for the first; goes on rising over retries and replays.' }),
    provider: fields.text('Its name.'),
    outcome: z.enum(OUTCOME_CLASSES).nullable().meta({ description: 'What it ended as; null while it is open.' }),
    reason: fields.text('What the provider said.').nullable(),
    retry_after_seconds: z.int().nullable().meta({ description: 'How long the provider asked to be left alone.' }),
    provider_message_id: fields.text('What the provider calls the message.').nullable(),
    started_at: fields.instant('When the worker was about to call the provider.'),
    finished_at: fields.instant('Null while nobody knows what became of it.').nullable(),
  })
  .meta({ id: 'Attempt', description: 'One hand-over to a provider.' });

const statusSchema = z
  .strictObject({
    notification_id: fields.notificationId,
    status: fields.status,
    timestamp: fields.instant('Since when.'),
    error: fields.failureReason.nullable().meta({ description: 'Why it failed; null unless it did.' }),
  })
  .meta({ id: 'Status', description: "A notification's status, in the fields of a report." });

const reportAnswerSchema = z
  .strictObject({
    notification_id: fields.text('As it was reported.'),
    code: z.int().meta({ description: '200 taken, or known already; 404; 409 refused.' }),
    status: fields.status.nullish().meta({ description: 'Where the notification stands.' }),
    message: fields.text('Why it was refused.').nullish(),
  })
  .meta({ id: 'ReportAnswer', description: 'What became of one report.' });

/** Sends, notifications and their statuses, which the gateway serves. */
export const notificationRoutes: RestRoute[] = [
  route<
    operations.SendNotificationMutation & operations.SendNotificationsMutation,
    bodies.SendBody | (bodies.SendBody | Refusal)[]
  >({
    id: 'sendNotifications',
    method: 'POST',
    path: '/api/v1/notifications/',
    summary: 'Send a notification, or up to 1,000',
    description:
      'The answer comes when it is on disk; from then on it is never lost. The same `request_id` with the same content is answered with the first notification, with other content it is a conflict. Of an array a faulty item fails alone.',
    headers: { 'idempotency-key': 'The request_id, for clients that name their requests so; of one send only.' },
    bodyLimit: MAX_SENDS_BYTES,
    operation: {
      of: [operations.SendNotificationDocument.toString(), operations.SendNotificationsDocument.toString()],
      choose: ({ body }) =>
        (Array.isArray(body) ? operations.SendNotificationsDocument : operations.SendNotificationDocument).toString(),
    },
    body: bodies.sendSchema,
    many: { max: MAX_SENDS, alone: true },
    example: {
      body: {
        notification_type: 'email',
        user_id: fields.EXAMPLE.userId,
        template_code: fields.EXAMPLE.templateCode,
        variables: { name: 'Ada', link: 'https://example.com/orders/7' },
        request_id: 'order-7',
        priority: 8,
        metadata: { order: 7 },
      },
    },
    answers: {
      202: {
        description: 'Accepted; an array is answered with an array, in the same order.',
        schema: bodies.sendAnswerSchema,
      },
    },
    problems: ['NOT_FOUND', 'CONFLICT', 'UNPROCESSABLE'],
    toVariables: ({ body, headers }) => {
      if (!Array.isArray(body)) {
        const input = bodies.toSendInput(body, headers['idempotency-key']);
        return isRefusal(input) ? input : { input };
      }
      const inputs = body.map(bodies.toItem).filter((item) => !isRefusal(item));
      return inputs.length === 0 ? null : { inputs };
    },
    toAnswer: ({ sendNotification, sendNotifications = [] }, { body }) => {
      if (!Array.isArray(body)) {
        const sent = bodies.toSentBody(sendNotification);
        return { status: 202, body: sent, location: pathOf(sent.notificationId) };
      }
      const results = sendNotifications.values();
      const toAnswer = (item: Refusal | object) =>
        isRefusal(item) ? bodies.toRefusedBody(item) : bodies.toItemBody(results.next().value);
      return { status: 202, body: body.map(bodies.toItem).map(toAnswer) };
    },
  }),

  route<operations.NotificationsQuery>({
    id: 'listNotifications',
    method: 'GET',
    path: '/api/v1/notifications/',
    summary: 'List notifications, newest first',
    operation: operations.NotificationsDocument.toString(),
    query: bodies.listSchema,
    example: { query: { status: 'pending', notification_type: 'email', first: '20' } },
    answers: {
      200: {
        description: 'A page.',
        schema: z
          .strictObject({ notifications: z.array(bodies.notificationSchema), next: fields.next })
          .meta({ id: 'NotificationPage', description: 'A page of notifications.' }),
      },
    },
    toVariables: ({ query, scopes }) => {
      const { first, after, ...filter } = toCamelKeys(query) as Record<string, string>;
      return { filter: bodies.toFilter(filter), ...fields.toPage({ first, after }), ...bodies.toLook(scopes) };
    },
    toAnswer: ({ notifications: { edges, pageInfo } }) => {
      const next = pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null;
      return {
        status: 200,
        body: { notifications: edges.map(({ node }) => bodies.toNotificationBody(node)), next },
        next,
      };
    },
  }),

  route<operations.NotificationQuery>({
    id: 'readNotification',
    method: 'GET',
    path: '/api/v1/notifications/{notification_id}',
    summary: 'Read a notification',
    operation: operations.NotificationDocument.toString(),
    answers: { 200: { description: 'As it stands.', schema: bodies.notificationSchema } },
    problems: ['NOT_FOUND'],
    toVariables: ({ params, scopes }) => ({ id: params['notification_id'], ...bodies.toLook(scopes) }),
    toAnswer: ({ notification }) =>
      notification ? { status: 200, body: bodies.toNotificationBody(notification) } : noSuchNotification,
  }),

  route<operations.AttemptsQuery>({
    id: 'listAttempts',
    method: 'GET',
    path: '/api/v1/notifications/{notification_id}/attempts/',
    summary: 'List every hand-over of a notification to a provider, oldest first',
    description: "For the client that sent it, not for the user it went to: a user's token is refused.",
    operation: operations.AttemptsDocument.toString(),
    answers: {
      200: {
        description: 'All of them.',
        schema: z
          .strictObject({ attempts: z.array(attemptSchema) })
          .meta({ id: 'Attempts', description: 'Every hand-over, oldest first.' }),
      },
    },
    problems: ['NOT_FOUND'],
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
    id: 'cancelNotification',
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/cancel/',
    summary: 'Cancel a notification that no worker has claimed',
    operation: operations.CancelNotificationDocument.toString(),
    body: reasonSchema,
    example: { body: { reason: 'ordered by mistake' } },
    answers: {
      200: { description: 'It came in time.', schema: bodies.cancelledSchema },
      409: { description: 'It was too late; `cancelled` is false.', schema: bodies.cancelledSchema },
    },
    problems: ['NOT_FOUND'],
    toVariables: ({ params, body, scopes }) => ({
      id: params['notification_id'],
      reason: body.reason,
      ...bodies.toLook(scopes),
    }),
    toAnswer: ({ cancelNotification: { cancelled, notification } }) => ({
      status: cancelled ? 200 : 409,
      body: { cancelled, ...bodies.toNotificationBody(notification) },
    }),
  }),

  route<operations.CreateStreamTokenMutation>({
    id: 'createStreamToken',
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/stream-token/',
    summary: "Get a token for a browser's EventSource on this notification's events",
    operation: operations.CreateStreamTokenDocument.toString(),
    answers: {
      201: {
        description: 'Goes into `?stream_token=` of `/api/v1/notifications/{notification_id}/events`.',
        schema: z
          .strictObject({
            stream_token: fields.text('Opens the events of this notification and nothing else.'),
            expires_at: fields.instant('60 s from now.'),
          })
          .meta({ id: 'StreamToken', description: 'What a browser shows instead of a key.' }),
      },
    },
    problems: ['NOT_FOUND'],
    toVariables: ({ params }) => ({ notificationId: params['notification_id'] }),
    toAnswer: ({ createStreamToken: { token, expiresAt } }) => ({
      status: 201,
      body: { streamToken: token, expiresAt },
    }),
  }),

  route<operations.ReplayNotificationMutation, { reason?: string }>({
    id: 'replayNotification',
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/replay/',
    summary: 'Send a failed notification again',
    operation: operations.ReplayNotificationDocument.toString(),
    body: reasonSchema,
    example: { body: { reason: 'the mail server is back' } },
    answers: { 202: { description: 'It is pending again.', schema: bodies.notificationSchema } },
    problems: ['NOT_FOUND', 'CONFLICT', 'UNPROCESSABLE'],
    toVariables: ({ params, body, scopes }) => ({
      id: params['notification_id'],
      reason: body.reason,
      ...bodies.toLook(scopes),
    }),
    toAnswer: ({ replayNotification }) => ({ status: 202, body: bodies.toNotificationBody(replayNotification) }),
  }),

  route<operations.ReplayNotificationsMutation, ManyBody>({
    id: 'replayNotifications',
    method: 'POST',
    path: '/api/v1/notifications/replay/',
    summary: 'Send failed notifications again, by filter, at a rate',
    operation: operations.ReplayNotificationsDocument.toString(),
    body: replaySchema,
    example: { body: { filter: { reason: 'RETRIES_EXHAUSTED' }, per_second: 20, reason: 'the mail server is back' } },
    answers: {
      202: {
        description: 'They are pending again.',
        schema: z
          .strictObject({
            replayed: z.int().meta({ description: 'How many are pending again.' }),
            refused: z
              .array(z.strictObject({ notification_id: fields.notificationId, code: fields.text('Why.') }))
              .meta({ description: "Those that fit and can't be sent again." }),
            has_more: z.boolean().meta({ description: 'Whether the filter fits more: ask again.' }),
            last_due_at: fields.instant('When the last of them is due; null when there was none.').nullable(),
          })
          .meta({ id: 'Replayed', description: 'What a replay by filter did.' }),
      },
    },
    toVariables: ({ body }) => ({ ...body, filter: bodies.toFilter(body.filter) }),
    toAnswer: ({ replayNotifications }) => ({ status: 202, body: replayNotifications }),
  }),

  route<operations.DiscardNotificationMutation, { reason: string }>({
    id: 'discardNotification',
    method: 'POST',
    path: '/api/v1/notifications/{notification_id}/discard/',
    summary: 'End a failed notification as discarded',
    operation: operations.DiscardNotificationDocument.toString(),
    body: requiredReasonSchema,
    example: { body: { reason: 'the customer was called' } },
    answers: { 200: { description: 'It stays failed, as DISCARDED.', schema: bodies.notificationSchema } },
    problems: ['NOT_FOUND', 'CONFLICT'],
    toVariables: ({ params, body, scopes }) => ({
      id: params['notification_id'],
      reason: body.reason,
      ...bodies.toLook(scopes),
    }),
    toAnswer: ({ discardNotification }) => ({ status: 200, body: bodies.toNotificationBody(discardNotification) }),
  }),

  route<operations.DiscardNotificationsMutation, ManyBody>({
    id: 'discardNotifications',
    method: 'POST',
    path: '/api/v1/notifications/discard/',
    summary: 'End failed notifications as discarded, by filter',
    operation: operations.DiscardNotificationsDocument.toString(),
    body: discardSchema,
    example: { body: { filter: { reason: 'REJECTED' }, reason: 'an old campaign' } },
    answers: {
      200: {
        description: 'They stay failed, as DISCARDED.',
        schema: z
          .strictObject({
            discarded: z.int().meta({ description: 'How many.' }),
            has_more: z.boolean().meta({ description: 'Whether the filter fits more: ask again.' }),
          })
          .meta({ id: 'Discarded', description: 'What a discard by filter did.' }),
      },
    },
    toVariables: ({ body }) => ({ ...body, filter: bodies.toFilter(body.filter) }),
    toAnswer: ({ discardNotifications }) => ({ status: 200, body: discardNotifications }),
  }),
];

/** Reports of outcomes, and the status of one notification, which the gateway serves. */
export const statusRoutes: RestRoute[] = [
  route<operations.ReportStatusMutation, ReportBody | ReportBody[]>({
    id: 'reportStatus',
    method: 'POST',
    path: '/api/v1/{notification_type}/status/',
    summary: 'Report what became of one notification, or of up to 100',
    description: 'An array is answered with an array, each item with a code of its own. `attempt` is for workers.',
    operation: operations.ReportStatusDocument.toString(),
    bodyLimit: MAX_REPORTS_BYTES,
    body: statusReportSchema.meta({ id: 'Report', description: 'What became of one notification.' }),
    many: { max: MAX_REPORTS, alone: false },
    example: {
      body: { notification_id: fields.EXAMPLE.notificationId, status: 'delivered', timestamp: '2026-12-24T18:00:00Z' },
    },
    answers: {
      200: {
        description: 'Taken, or known already.',
        schema: z
          .union([reportAnswerSchema, z.array(reportAnswerSchema)])
          .meta({ id: 'ReportAnswers', description: 'One, or as many as there were reports, in the same order.' }),
      },
    },
    problems: ['NOT_FOUND', 'CONFLICT'],
    toVariables: ({ params, body }) => {
      const type = typeIn(params);
      if (isRefusal(type)) return type;
      return { notificationType: type.toUpperCase(), reports: [body].flat().map(toReport) };
    },
    toAnswer: ({ reportStatus }, { body }) => {
      const answers = reportStatus.map(({ status, ...rest }) => ({ ...rest, status: status?.toLowerCase() ?? null }));
      if (Array.isArray(body)) return { status: 200, body: answers };
      const [answer] = answers;
      if (answer?.code === 404)
        return refuse('NOT_FOUND', answer.message ?? 'there is no such notification', 'notificationId');
      if (answer?.code === 409) return refuse('CONFLICT', answer.message ?? 'the report came too late');
      return { status: 200, body: answer };
    },
  }),

  route<operations.StatusQuery>({
    id: 'readStatus',
    method: 'GET',
    path: '/api/v1/{notification_type}/status/{notification_id}',
    summary: "Read a notification's status",
    operation: operations.StatusDocument.toString(),
    answers: { 200: { description: 'As it stands.', schema: statusSchema } },
    problems: ['NOT_FOUND'],
    toVariables: ({ params }) => {
      const type = typeIn(params);
      return isRefusal(type) ? type : { id: params['notification_id'] };
    },
    toAnswer: ({ notification }, { params }) =>
      notification && notification.notificationType.toLowerCase() === params['notification_type']
        ? {
            status: 200,
            body: {
              notificationId: notification.id,
              status: notification.status.toLowerCase(),
              timestamp: notification.updatedAt,
              error: notification.reason ?? null,
            },
          }
        : noSuchNotification,
  }),
];

const pathOf = (id: string) => `/api/v1/notifications/${id}`;

const typeIn = ({ notification_type: given }: Record<string, string>): string | Refusal =>
  NOTIFICATION_TYPES.find((known) => known === given) ??
  refuse('NOT_FOUND', `there is no notification type ${given}; there are email and push`);

const upperClass = <T extends { class: string }>(item: T) => ({ ...item, class: item.class.toUpperCase() });

const toReport = ({ status, attempt, ...rest }: ReportBody) => ({
  ...rest,
  status: status.toUpperCase(),
  ...(attempt !== undefined && {
    attempt: { ...upperClass(attempt), ...(attempt.results && { results: attempt.results.map(upperClass) }) },
  }),
});
