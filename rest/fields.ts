import { z } from 'zod';
import { FAILURE_REASONS } from '../contracts/failure-reason.ts';
import { NOTIFICATION_TYPES } from '../contracts/jobs.ts';
import { STATUSES } from '../contracts/report.ts';

/**
 * The fields that several bodies share. A schema checks types and names, for that is what GraphQL's variables would be refused for; bounds
 * are the services' own, and stand here for readers (`meta`) only.
 */

export const EXAMPLE = {
  userId: '0199f0c4-5d1e-7b3a-9c41-2f6f0a7d1e55',
  notificationId: '0199f0c5-93aa-7c10-8d22-6e1b5c0f4a77',
  templateCode: 'billing/receipt',
};

export const text = (description: string, meta: object = {}) => z.string().meta({ description, ...meta });

/** One line, with something in it: no control characters, and nothing else that readers take for a line's end. */
export const line = (description: string, meta: object = {}) =>
  text(description, { pattern: '^[^\\u0000-\\u001F\\u007F-\\u009F\\u2028\\u2029]+$', ...meta });

export const instant = (description: string) =>
  z.iso
    .datetime({ offset: true, error: 'must be a date and time such as 2026-12-24T18:00:00Z' })
    .meta({ description, examples: ['2026-12-24T18:00:00Z'] });

/** JSON's own object: whatever the caller keeps in it. */
export const json = (description: string) => z.record(z.string(), z.unknown()).meta({ description });

export const notificationType = z
  .enum(NOTIFICATION_TYPES, 'must be email or push')
  .meta({ description: 'By which channel.' });

export const userId = text('A UUID.', { format: 'uuid', examples: [EXAMPLE.userId] });
export const notificationId = text('A UUID.', { format: 'uuid', examples: [EXAMPLE.notificationId] });

export const templateCode = text('A path: lower-case letters, digits, - and _ in segments parted by slashes.', {
  maxLength: 200,
  pattern: '^[a-z0-9_-]+(/[a-z0-9_-]+)*$',
  examples: [EXAMPLE.templateCode],
});

export const requestId = line('Your own name for this send: the same again answers with the first notification.', {
  minLength: 1,
  maxLength: 255,
  examples: ['order-7'],
});

export const locale = text('A language tag (BCP 47).', {
  pattern: '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$',
  examples: ['de-AT'],
});

export const reason = text('Why, for the history.', { maxLength: 1_000 });

export const status = z.enum(STATUSES).meta({ description: 'Where the notification stands.' });
export const failureReason = z.enum(FAILURE_REASONS).meta({ description: 'Why it failed.' });

/** `?first=50&after=…` of every list. */
export const pageQuery = {
  first: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a number from 1 to 200')
    .meta({
      description: 'How many a page, 1 to 200; 50 when left out.',
      pattern: '^([1-9]|[1-9][0-9]|1[0-9][0-9]|200)$',
    })
    .optional(),
  after: text('The `next` of the page before; the first page when left out.').optional(),
};

export const search = line('Part of the text that is looked for, regardless of case.', {
  minLength: 1,
  maxLength: 200,
}).optional();

export const next = text('What `after` takes, to go on behind this page; null on the last.').nullable();

/** What a list's variables are. */
export const toPage = ({ first, after }: Record<string, string | undefined>) => ({ first: Number(first ?? 50), after });

/** What a name in a path stands for. */
export const PARAMETERS: Record<string, z.ZodType> = {
  notification_id: notificationId,
  notification_type: notificationType,
  user_id: userId,
  code: templateCode.meta({
    description: 'The code of a template, with its slashes, raw or as %2F.',
    examples: [EXAMPLE.templateCode],
  }),
};
