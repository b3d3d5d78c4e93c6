import { randomUUID } from 'node:crypto';
import {
  CreateApiKeyDocument,
  DraftTemplateVersionDocument,
  FeedDocument,
  PublishTemplateDocument,
  SuppressDocument,
  UpdateUserDocument,
} from '../../client/generated/operations.ts';
import { CLIENT_SCOPES } from '../../contracts/scopes.ts';
import { createCursors } from '../../platform/feed-cursor.ts';
import { begin } from '../as-worker.ts';
import { givenTemplate, givenUser, sendBody } from '../given.ts';
import type { Herald } from '../start.ts';

/** A user, a client with a key, a template, and what that client sent to that user: one of everything that there is to find. */
export type World = Awaited<ReturnType<typeof givenWorld>>;

/** @param word lower-case letters; in whatever people may choose of this world, and in no other */
export async function givenWorld(herald: Herald, word: string) {
  const feedStart = (await herald.graphql(FeedDocument, {})).feed.endCursor;
  const email = `${word}person@example.com`;
  const user = await givenUser(herald, { name: `Ada ${word}person`, email, push_token: `device-${word}person` });
  await herald.graphql(UpdateUserDocument, { id: user, input: { locale: 'en', timeZone: 'Europe/Vienna' } });
  const [gone] = await herald.sql(
    'user',
    `INSERT INTO push_token (id, user_id, kind, token, dead_at) VALUES (gen_random_uuid(), $1, 'fcm', $2, now()) RETURNING id`,
    [user, `gone-${word}person`],
  );
  const [device] = await herald.sql('user', 'SELECT id FROM push_token WHERE user_id = $1 AND dead_at IS NULL', [user]);

  const said = `of ${word}letter`;
  const reason = `because ${said}`;
  const template = await givenTemplate(herald, {
    code: `${word}letter/${randomUUID()}`,
    email: { subject: said, html: `<p>${said} {{ note | default: "" }}</p>`, text: said },
    push: {
      title: said,
      body: said,
      image: 'https://example.com/a',
      link: 'https://example.com/b',
      data: { said },
      ttl_seconds: 60,
      collapse_key: said,
    },
    variables: [{ name: 'note', type: 'string', required: false, description: said }],
    unsubscribable: true,
    reason,
  });
  const draft = (locale: string, html: string) => {
    const contents = [{ locale, email: { subject: said, html } }];
    return herald.graphql(DraftTemplateVersionDocument, { input: { code: template, basedOn: 1, reason, contents } });
  };
  await draft('fr', said);
  await draft('en', `${said}, {{ unknown }}`);
  await herald.graphql(PublishTemplateDocument, { code: template, number: 2, reason });

  const client = `client-${word}`;
  const input = { clientId: client, name: `${word}key`, scopes: [...CLIENT_SCOPES] };
  const { apiKey, key } = (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
  const [stored] = await herald.sql('user', `SELECT encode(hash, 'hex') AS digest FROM api_key WHERE id = $1`, [
    apiKey.id,
  ]);

  const words = `${word}sent`;
  const requestId = `request-${words}`;
  const send = (fields: object) => sendAs(herald, key, user, template, { metadata: { words }, ...fields });
  const notification = await send({ request_id: requestId });
  await failAt(herald, notification, words, email);
  const inAnHour = new Date(Date.now() + 3_600_000).toISOString();
  const others = [
    await send({ notification_type: 'push' }),
    await send({ send_at: inAnHour, expires_at: new Date(Date.now() + 7_200_000).toISOString() }),
  ];
  // With nothing but what must be said, so that the same can be asked again.
  const repeatable = { request_id: `repeatable-${words}`, variables: undefined };
  others.push(await sendAs(herald, key, user, template, repeatable));

  const close = async (target: object) => {
    const input = { notificationType: 'PUSH' as const, reason: `${word}closed`, ...target };
    return (await herald.graphql(SuppressDocument, { input })).suppress.id;
  };
  const suppressions = [await close({ userId: user, templateCode: template }), await close({ address: email })];
  const [content] = await herald.sql('notification', 'SELECT message FROM content WHERE notification_id = $1', [
    notification,
  ]);
  const marks = {
    person: [`${word}person`, user, String(device?.['id']), String(gone?.['id'])],
    letter: [`${word}letter`],
    client: [client],
    key: [`${word}key`, apiKey.id, apiKey.prefix],
    sent: [words, notification, ...others],
    closed: [`${word}closed`, ...suppressions],
  };
  return {
    word,
    user,
    email,
    device: String(device?.['id']),
    template,
    client,
    key,
    apiKey: apiKey.id,
    digest: String(stored?.['digest']),
    notification,
    requestId,
    repeatable: repeatable.request_id,
    suppression: suppressions[0],
    unsubscribeToken: String(content?.['message'].unsubscribeUrl).split('/').at(-1) ?? '',
    feedStart,
    epoch: createCursors(herald.secrets.notification).parseCursor(feedStart)?.epoch,
    /** What shows that an answer tells of it, by what it is of. */
    marks,
  };
}

/** Sends as a client does. @returns the notification's id */
export async function sendAs(herald: Herald, key: string, user: string, template: string, fields: object) {
  const body = sendBody(user, template, { variables: {}, ...fields });
  const answer = await herald.rest('POST', '/api/v1/notifications/', body, { authorization: `Bearer ${key}` });
  if (answer.status !== 202) throw new Error(`not sent: ${answer.status} ${JSON.stringify(answer.body)}`);
  return String(answer.body.notification_id);
}

/**
 * As a worker tells of a mail that failed for good, in the provider's words.
 * @param reason such as SUPPRESSED, when it was not the provider that refused it
 */
export async function failAt(herald: Herald, id: string, words: string, target: string, reason?: string) {
  const token = await begin(herald, id);
  const attempt = {
    token,
    class: 'permanent',
    reason: reason ?? `refused, ${words}`,
    retry_after_seconds: 5,
    provider: 'smtp',
    provider_message_id: `message-${words}`,
    results: [{ target, class: 'permanent', reason: `no mailbox, ${words}` }],
  };
  const { status, body } = await herald.rest(
    'POST',
    '/api/v1/email/status/',
    { notification_id: id, status: 'failed', attempt },
    { authorization: `Bearer ${herald.workerApiKey}` },
  );
  if (status !== 200) throw new Error(`not reported: ${status} ${JSON.stringify(body)}`);
}
