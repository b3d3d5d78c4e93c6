import { z } from 'zod';
import type { RefusalCode } from '../platform/refusal.ts';
import type { Tag } from './table.ts';
import * as fields from './fields.ts';

/** What an event `status` has as its data. */
export const statusEventSchema = z
  .strictObject({
    notification_id: fields.notificationId,
    status: fields.status,
    previous_status: fields.status.nullable().meta({ description: 'Null for the first.' }),
    reason: fields.failureReason.nullable().meta({ description: 'Why it failed; null unless it did.' }),
    attempt: z.int().meta({ description: 'How often it was handed to a provider by then.' }),
    at: fields.instant('When it happened.'),
  })
  .meta({ description: 'A change of status: the data of an event named `status`.' });

/**
 * The one REST path that is not in the table, for it runs no operation and its answer does not end: the gateway's
 * subscriptions/plain-sse.ts serves it. Here is what its part of the OpenAPI document is made of.
 */
export const eventStream = {
  id: 'followNotification',
  tag: 'Notifications' satisfies Tag,
  method: 'GET' as const,
  path: '/api/v1/notifications/{notification_id}/events',
  summary: "Follow a notification's status as server-sent events",
  description:
    'First its status as it is, then every change, until you leave: events named `status`, whose data `x-event-data` of the answer describes and whose id is a cursor to come back with. An event named `problem` (`{ code, detail }`) ends the stream; a line with a colon comes every 10 s. A browser, whose EventSource sends no header, shows a stream token. Requires `notifications:read`.',
  query: z.strictObject({
    stream_token: fields
      .text(
        'In the place of a credential: what `POST …/stream-token/` answered with, for 60 s. Its stream ends after 15 minutes.',
      )
      .optional(),
    last_event_id: fields.text('As the header Last-Event-ID, which goes first.').optional(),
  }),
  headers: { 'Last-Event-ID': 'The id of the last event that was read: it goes on behind that.' },
  problems: ['NOT_FOUND', 'CURSOR_EXPIRED'] satisfies RefusalCode[],
  answer: 'Events, as they happen.',
};
