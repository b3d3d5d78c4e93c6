import { z } from 'zod';
import { FAILURE_REASONS } from '../../contracts/failure-reason.ts';
import { NOTIFICATION_TYPES } from '../../contracts/jobs.ts';
import { STATUSES } from '../../contracts/report.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import type { RestNotificationFragment } from './generated/operations.ts';

/** The shapes of the gateway's REST bodies, in the specification's spelling, and their way into the graph's. */

/** Of one send, or of up to 1,000, over REST and GraphQL. */
export const MAX_SENDS_BYTES = 2 * 1024 * 1024;

const instant = z.iso.datetime({ offset: true, error: 'must be a date and time such as 2026-12-24T18:00:00Z' });

export const sendSchema = z.strictObject({
  notification_type: z.enum(NOTIFICATION_TYPES, 'must be email or push'),
  user_id: z.string(),
  template_code: z.string(),
  variables: z.record(z.string(), z.unknown()).optional(),
  request_id: z.string().optional(),
  // GraphQL's Int; the rule itself is the notification service's.
  priority: z.int32('must be a number from 1 to 10').optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  locale: z.string().optional(),
  send_at: instant.optional(),
  expires_at: instant.optional(),
  on_ambiguous: z.enum(['resend', 'fail'], 'must be resend or fail').optional(),
});

export type SendBody = { notificationType: string; requestId?: string; onAmbiguous?: string };

const filterFields = {
  status: z.enum(STATUSES).optional(),
  reason: z.enum(FAILURE_REASONS).optional(),
  notification_type: z.enum(NOTIFICATION_TYPES, 'must be email or push').optional(),
  user_id: z.string().optional(),
  template_code: z.string().optional(),
  request_id: z.string().optional(),
  since: instant.optional(),
  until: instant.optional(),
};

/** `?status=failed&reason=REJECTED&…&first=50&after=…` */
export const listSchema = z.strictObject({
  ...filterFields,
  scheduled: z.enum(['true', 'false']).optional(),
  first: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a number from 1 to 200')
    .optional(),
  after: z.string().optional(),
});

export const filterSchema = z.strictObject(filterFields);

export const reasonSchema = z.strictObject({ reason: z.string().max(1_000).optional() });
export const requiredReasonSchema = z.strictObject({ reason: z.string().max(1_000) });

export const replaySchema = z.strictObject({
  filter: filterSchema,
  per_second: z.int().min(1).max(1_000).default(50),
  limit: z.int().min(1).max(1_000).default(1_000),
  reason: z.string().max(1_000).optional(),
});

export const discardSchema = z.strictObject({
  filter: filterSchema,
  limit: z.int().min(1).max(1_000).default(1_000),
  reason: z.string().max(1_000),
});

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
