import { z } from 'zod';
import { isRefusal, refuse, STATUS_OF, type Fault, type Refusal, type RefusalCode } from '../platform/refusal.ts';
import { toSnakePath } from '../platform/rest/spelling.ts';
import * as fields from './fields.ts';
import type {
  RestNotificationFragment,
  SendNotificationMutation,
  SendNotificationsMutation,
} from './generated/operations.ts';

/** The shapes of notifications and sends, in the specification's spelling, and their way into the graph's and back. */

export const sendSchema = z
  .strictObject({
    notification_type: fields.notificationType,
    user_id: fields.userId,
    template_code: fields.templateCode,
    variables: fields.json("The values of the template's variables.").optional(),
    request_id: fields.requestId.optional(),
    // GraphQL's Int; the rule itself is the notification service's.
    priority: z
      .int32('must be a number from 1 to 10')
      .meta({ description: '10 goes first; 5 when left out.', minimum: 1, maximum: 10 })
      .optional(),
    metadata: fields.json('Kept with the notification, sent to nobody.').optional(),
    locale: fields.locale.optional(),
    send_at: fields.instant('Not before this; at most a year ahead.').optional(),
    expires_at: fields.instant('Not after this.').optional(),
    on_ambiguous: z
      .enum(['resend', 'fail'], 'must be resend or fail')
      .meta({ description: 'What to do when nobody knows whether the provider has it; resend when left out.' })
      .optional(),
  })
  .meta({ id: 'Send', description: 'One send. request_id may come as the Idempotency-Key header instead.' });

export type SendBody = { notificationType: string; requestId?: string; onAmbiguous?: string };

const filterFields = {
  status: fields.status.optional(),
  reason: fields.failureReason.optional(),
  notification_type: fields.notificationType.optional(),
  user_id: fields.userId.optional(),
  template_code: fields.templateCode.optional(),
  request_id: fields.requestId.optional(),
  since: fields.instant('Accepted at or after this.').optional(),
  until: fields.instant('Accepted before this.').optional(),
};

/** `?status=failed&reason=REJECTED&…&first=50&after=…` */
export const listSchema = z.strictObject({
  ...filterFields,
  scheduled: z
    .enum(['true', 'false'])
    .meta({ description: 'Whether it waits for a moment that was asked for.' })
    .optional(),
  ...fields.pageQuery,
});

export const filterSchema = z
  .strictObject(filterFields)
  .meta({ id: 'NotificationFilter', description: 'Which notifications; what is left out does not matter.' });

/** A filter as it arrives, keys in camelCase. */
export type FilterBody = { status?: string; reason?: string; notificationType?: string; scheduled?: string } & Record<
  string,
  unknown
>;

export const toFilter = ({ status, reason, notificationType, scheduled, ...rest }: FilterBody) => ({
  ...rest,
  ...(status !== undefined && { status: status.toUpperCase() }),
  ...(reason !== undefined && { reasons: [reason] }),
  ...(notificationType !== undefined && { notificationType: notificationType.toUpperCase() }),
  ...(scheduled !== undefined && { scheduled: scheduled === 'true' }),
});

export function toSendInput(
  body: SendBody,
  idempotencyKey: string | string[] | undefined,
): Record<string, unknown> | Refusal {
  const requestId = toRequestId(body.requestId, idempotencyKey);
  if (typeof requestId !== 'string') return requestId;
  const { notificationType, onAmbiguous, ...rest } = body;
  const input = { ...rest, requestId, notificationType: notificationType.toUpperCase() };
  return onAmbiguous === undefined ? input : { ...input, onAmbiguous: onAmbiguous.toUpperCase() };
}

/** From the body or the `Idempotency-Key` header; when both are there they must agree. */
function toRequestId(inBody: string | undefined, header: string | string[] | undefined): string | Refusal {
  const inHeader = typeof header === 'string' ? header : undefined;
  if (inBody !== undefined && inHeader !== undefined && inBody !== inHeader) {
    const message = 'requestId and the Idempotency-Key header differ: send one of them, or the same in both';
    return refuse('BAD_USER_INPUT', message, 'requestId', 'INVALID');
  }
  return (
    inBody ??
    inHeader ??
    refuse('BAD_USER_INPUT', 'requestId is required (or the Idempotency-Key header)', 'requestId', 'REQUIRED')
  );
}

/** One of many: its input, or why it has none. One Idempotency-Key can't name many sends. */
export const toItem = (item: SendBody | Refusal) => (isRefusal(item) ? item : toSendInput(item, undefined));

const sentFields = {
  notification_id: fields.notificationId,
  status: fields.status,
  request_id: fields.requestId,
  duplicate: z.boolean().meta({ description: 'Whether this send had been accepted before.' }),
};

export const sentSchema = z.strictObject(sentFields).meta({ id: 'Sent', description: 'A send that is accepted.' });

export const refusedSchema = z
  .strictObject({
    status: z.int().meta({ description: 'What it would have been answered with alone.' }),
    code: fields.text('What kind of fault.'),
    field: fields.text('Which field is at fault; null when none is.').nullable(),
    message: fields.text('What is wrong, and the mend.'),
  })
  .meta({ id: 'Refused', description: 'One of many that was refused; the others are not touched by it.' });

export const sendAnswerSchema = z
  .union([sentSchema, z.array(z.union([sentSchema, refusedSchema]))])
  .meta({ id: 'SendAnswer', description: 'One, or as many as there were sends, in the same order.' });

export const toSentBody = ({ notification, duplicate }: SendNotificationMutation['sendNotification']) => ({
  notificationId: notification.id,
  status: notification.status.toLowerCase(),
  requestId: notification.requestId,
  duplicate,
});

export const toItemBody = (result: SendNotificationsMutation['sendNotifications'][number] | undefined) =>
  result?.notification
    ? toSentBody({ duplicate: result.duplicate, notification: result.notification })
    : toRefusedBody({ code: 'INTERNAL', message: '', ...result?.error });

/** One that was refused, its field in the caller's spelling. */
export const toRefusedBody = (error: { code: string; message: string; field?: string | null; faults?: Fault[] }) => {
  const given = error.field ?? error.faults?.[0]?.field ?? null;
  const field = given === null ? null : toSnakePath(given);
  return {
    status: STATUS_OF[error.code as RefusalCode] ?? 500,
    code: error.code,
    field,
    message: given === null || field === null ? error.message : error.message.replaceAll(given, field),
  };
};

const notificationFields = {
  notification_id: fields.notificationId,
  notification_type: fields.notificationType,
  user_id: fields.userId.nullable(),
  template_code: fields.templateCode.nullable(),
  request_id: fields.requestId,
  status: fields.status,
  reason: fields.failureReason.nullable(),
  priority: z.int().meta({ description: '1 to 10.' }),
  metadata: fields.json("The sender's own; left out for whoever lacks `notifications:inspect`.").optional(),
  attempts: z.int().meta({ description: 'How often it was handed to a provider.' }),
  created_at: fields.instant('When it was accepted.'),
  updated_at: fields.instant('When its status last changed.'),
};

/** Whether to ask for what is the sender's own: asked for without the scope, it would refuse the whole answer, of an act that is done. */
export const toLook = (scopes: readonly string[]) => ({ inspect: scopes.includes('notifications:inspect') });

export const notificationSchema = z
  .strictObject(notificationFields)
  .meta({ id: 'Notification', description: 'A notification as it stands.' });

export const cancelledSchema = z
  .strictObject({
    cancelled: z.boolean().meta({ description: 'False: it was too late.' }),
    ...notificationFields,
  })
  .meta({ id: 'Cancelled', description: 'A notification, and whether it was cancelled.' });

export const toNotificationBody = ({
  id,
  notificationType,
  user,
  template,
  status,
  ...rest
}: RestNotificationFragment) => ({
  notificationId: id,
  notificationType: notificationType.toLowerCase(),
  userId: user?.id ?? null,
  templateCode: template?.code ?? null,
  status: status.toLowerCase(),
  ...rest,
});
