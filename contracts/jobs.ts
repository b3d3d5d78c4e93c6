import { z } from 'zod';

/**
 * Glossary, for the whole code:
 * client: who sends, owner of its notifications (an account, not a key) · viewer: whoever asks (client key, user token,
 * worker, service, admin) · notification: one message of one type to one user · job: `{ notificationId }` on a queue ·
 * attempt: one hand-over to a provider · lease: a worker's right to a notification until a time · token: the lease's fencing
 * number, which only grows · outcome: what an attempt ended as · outbox: rows to publish, each with a due time ·
 * feed: numbered status events · dead letter: a notification that ended `failed`, and its message in failed.queue.
 */
export const NOTIFICATION_TYPES = ['email', 'push'] as const;
export type NotificationType = (typeof NOTIFICATION_TYPES)[number];

/** What lies on email.queue and push.queue: an id. The row in PostgreSQL is the truth. */
export const jobSchema = z.strictObject({ notificationId: z.uuid().toLowerCase() });
export type Job = z.infer<typeof jobSchema>;

export const toJobBody = (job: Job): Buffer => Buffer.from(JSON.stringify(job));

/** Unknown bytes to a job; null when they are none (poison). */
export function parseJob(body: Buffer): Job | null {
  try {
    return jobSchema.parse(JSON.parse(body.toString('utf8')));
  } catch {
    return null;
  }
}
