import { randomUUID } from 'node:crypto';
import { EXAMPLE } from '../../rest/fields.ts';
import { givenSent, givenTemplate, givenUser } from '../given.ts';
import type { Herald } from '../start.ts';
import type { Operation } from './document.ts';

/** What an operation works on, by the name of its parameter. */
export type Subject = { user_id: string; code: string; notification_id: string; notification_type: string };

const failing = ['replayNotification', 'discardNotification', 'replayNotifications', 'discardNotifications'];
const publishing = ['publishTemplate', 'rollBackTemplate'];

/** A user, a template and a notification in the state that an operation is for. */
export async function givenSubject(herald: Herald, operationId = ''): Promise<Subject> {
  const user = await givenUser(herald, { name: 'Ada Lovelace' });
  const code = await givenTemplate(herald, {
    email: { subject: 'Your receipt, {{ name }}', html: '<p>{{ name }}: {{ link | default: "none" }}</p>' },
  });
  const id = await givenSent(herald, user, code);
  if (failing.includes(operationId))
    await must(herald, 'POST', '/api/v1/email/status/', { notification_id: id, status: 'failed' });
  if (publishing.includes(operationId)) {
    await must(herald, 'POST', `/api/v1/templates/${code}/versions`, { based_on: 1 });
    await must(herald, 'POST', `/api/v1/templates/${code}/publish`, { number: 2 });
  }
  return { user_id: user, code, notification_id: id, notification_type: 'email' };
}

async function must(herald: Herald, method: 'POST', path: string, body: object): Promise<void> {
  const answer = await herald.rest(method, path, body);
  if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
}

/** An example of the document, about a subject that is there; what must be new is new. */
export function fill<Value>(example: Value, { user_id, code, notification_id }: Subject): Value {
  const text = JSON.stringify(example ?? null)
    .replaceAll(EXAMPLE.userId, user_id)
    .replaceAll(EXAMPLE.notificationId, notification_id)
    .replaceAll(EXAMPLE.templateCode, code)
    .replaceAll('billing/invoice', `billing/${randomUUID()}`)
    .replaceAll('ada@example.com', `${randomUUID()}@example.com`)
    .replaceAll('order-7', randomUUID());
  return (example === undefined ? undefined : JSON.parse(text)) as Value;
}

/** The path and query of an operation about a subject. */
export function urlFor(path: string, { parameters }: Operation, subject: Subject): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: keyof Subject) => subject[name]);
  const query = new URLSearchParams(
    parameters.flatMap(({ name, in: place, example }): [string, string][] =>
      place === 'query' && example !== undefined ? [[name, example]] : [],
    ),
  );
  return query.size > 0 ? `${filled}?${query.toString()}` : filled;
}

/** Which services have an operation at their own door, besides the gateway. */
export const doorsOf = ({ tags: [tag] }: Operation) =>
  (({ Users: ['gateway', 'user'], Templates: ['gateway', 'template'] }) as Record<string, Door[]>)[tag] ?? ['gateway'];
type Door = 'gateway' | 'user' | 'template';
