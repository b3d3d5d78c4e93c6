import { z } from 'zod';
import { NOTIFICATION_TYPES } from './jobs.ts';
import { STATUSES } from './report.ts';

/** One status change, numbered: what lies on `notifications.events`, and what the feed's pages hold. */
export const statusEventSchema = z.object({
  seq: z.int().min(1),
  notificationId: z.uuid(),
  /** The notification's version after the change. */
  version: z.int(),
  type: z.enum(NOTIFICATION_TYPES),
  userId: z.uuid(),
  clientId: z.string(),
  requestId: z.string(),
  status: z.enum(STATUSES),
  /** Null for a creation. */
  previousStatus: z.enum(STATUSES).nullable(),
  reason: z.string().nullable(),
  attempt: z.int(),
  at: z.iso.datetime(),
  /** The trace of the notification (W3C), on `notifications.events` and while tracing is on. */
  traceparent: z.string().optional(),
});

export type StatusEvent = z.infer<typeof statusEventSchema>;

/** A message on `notifications.events`: events in the order of their numbers, or only the newest number, so that gaps show. */
export const feedMessageSchema = z.object({
  epoch: z.uuid(),
  head: z.int().min(0),
  events: z.array(statusEventSchema),
});

export type FeedMessage = z.infer<typeof feedMessageSchema>;

/** The routing key of every feed message. */
export const FEED_KEY = 'status';
