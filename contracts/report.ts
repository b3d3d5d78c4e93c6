import { z } from 'zod';

/** Devices of one user; more than anybody has. */
export const MAX_TARGETS = 50;

/** What an attempt ended as (docs/protocol.md, "Status report"). */
export const OUTCOME_CLASSES = [
  'accepted',
  'transient',
  'permanent',
  'address_dead',
  'configuration',
  'unknown',
  'not_sent',
] as const;
export type OutcomeClass = (typeof OUTCOME_CLASSES)[number];

/** What is kept of a provider's words; more is cut off. */
export const MAX_REASON = 2_000;
export const MAX_PROVIDER_MESSAGE_ID = 1_000;
/** The longest that a provider may put off a next try. */
export const MAX_RETRY_AFTER_SECONDS = 24 * 3_600;

/** What a provider asked for, as a report may say it. */
export const toRetryAfter = (seconds: number): number =>
  Math.min(Math.max(0, Math.ceil(seconds)), MAX_RETRY_AFTER_SECONDS);

export const STATUSES = ['pending', 'delivered', 'failed'] as const;
export type Status = (typeof STATUSES)[number];

/** What became of one target of an attempt; `target`: the e-mail address, or the id of a push token. */
export const targetResultSchema = z.strictObject({
  target: z.string().max(320),
  class: z.enum(OUTCOME_CLASSES),
  reason: z.string().max(1_000).optional(),
});
export type TargetResult = z.infer<typeof targetResultSchema>;

/** The body of `POST /api/v1/{notification_type}/status/`; `attempt` comes from workers only. */
export const statusReportSchema = z.strictObject({
  notification_id: z.string(),
  status: z.enum(STATUSES),
  timestamp: z.iso.datetime({ offset: true }).optional(),
  error: z.string().max(10_000).optional(),
  attempt: z
    .strictObject({
      token: z.int32().min(1),
      class: z.enum(OUTCOME_CLASSES),
      reason: z.string().max(10_000).optional(),
      // Within the graph's Int, so that none refuses the reports beside it.
      retry_after_seconds: z
        .int()
        .min(0)
        .transform((seconds) => Math.min(seconds, MAX_RETRY_AFTER_SECONDS))
        .optional(),
      provider: z.string().max(100).optional(),
      provider_message_id: z.string().max(MAX_PROVIDER_MESSAGE_ID).optional(),
      results: z.array(targetResultSchema).max(MAX_TARGETS).optional(),
    })
    .optional(),
});

export type StatusReport = z.infer<typeof statusReportSchema>;

export const MAX_REPORTS = 100;
export const MAX_REPORTS_BYTES = 64 * 1024;

/** One item of the answer to an array of reports; `code` is an HTTP status. */
export type StatusReportAnswer = { notification_id: string; code: number; status?: Status; message?: string };

/** The public status that a worker's outcome claims: "mine no more, not final" is pending. */
export function toReportedStatus(outcome: OutcomeClass): Status {
  switch (outcome) {
    case 'accepted':
      return 'delivered';
    case 'permanent':
    case 'address_dead':
      return 'failed';
    case 'transient':
    case 'configuration':
    case 'unknown':
    case 'not_sent':
      return 'pending';
  }
}
