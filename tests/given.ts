import { randomUUID } from 'node:crypto';
import type { Herald } from './start.ts';

/** What stories begin with: a user, a template, a send. Each over REST, each with what the story cares about. */

/** @returns the user's id */
export async function givenUser(herald: Herald, fields: object = {}): Promise<string> {
  const { status, body } = await herald.rest('POST', '/api/v1/users/', {
    name: 'Ada Lovelace',
    email: `${randomUUID()}@example.com`,
    push_token: `device-${randomUUID()}`,
    password: 'correct horse',
    ...fields,
  });
  if (status !== 201) throw new Error(`no user: ${status} ${JSON.stringify(body)}`);
  return body.id;
}

/** @returns the template's code */
export async function givenTemplate(herald: Herald, fields: object = {}): Promise<string> {
  const { status, body } = await herald.rest('POST', '/api/v1/templates/', {
    code: `story/${randomUUID()}`,
    email: {
      subject: 'Hello {{ name }}',
      html: '<p>Hello {{ name }}</p>',
      text: 'Hello {{ name }}',
    },
    push: { title: 'Hello {{ name }}', body: 'A message' },
    ...fields,
  });
  if (status !== 201) throw new Error(`no template: ${status} ${JSON.stringify(body)}`);
  return body.code;
}

/** The body of a send over REST, complete but for what the story changes. */
export const sendBody = (user: string, template: string, fields: object = {}) => ({
  notification_type: 'email',
  user_id: user,
  template_code: template,
  variables: { name: 'Ada' },
  request_id: randomUUID(),
  ...fields,
});

/** Sends over REST. @returns the notification's id */
export async function givenSent(herald: Herald, user: string, template: string, fields: object = {}): Promise<string> {
  const { status, body } = await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template, fields));
  if (status !== 202) throw new Error(`not sent: ${status} ${JSON.stringify(body)}`);
  return body.notification_id;
}

/** What became of it: the answer of GET, and the events of its timeline. */
export async function readNotification(herald: Herald, id: string) {
  const { body } = await herald.rest('GET', `/api/v1/notifications/${id}`);
  const timeline = await herald.sql(
    'notification',
    'SELECT event FROM timeline WHERE notification_id = $1 ORDER BY id',
    [id],
  );
  return { ...body, timeline: timeline.map(({ event }) => event) };
}

/** The mails of one notification. */
export const mailsOf = async (herald: Herald, id: string | undefined) =>
  (await herald.mails()).filter(({ MessageID }) => MessageID.startsWith(`${id}@`));
