import { randomUUID } from 'node:crypto';
import {
  CreateApiKeyDocument,
  DraftTemplateVersionDocument,
  FeedDocument,
  PublishTemplateDocument,
  SuppressDocument,
} from '../../client/generated/operations.ts';
import { CLIENT_SCOPES } from '../../contracts/scopes.ts';
import { givenSent, givenTemplate, givenUser } from '../given.ts';
import type { Herald } from '../start.ts';

/** One of everything that there is to find, each with the same word in whatever people may choose of it. */
export type World = Awaited<ReturnType<typeof givenWorld>>;

/** @param word lower-case letters and digits, in no other world */
export async function givenWorld(herald: Herald, word: string) {
  const feedStart = (await herald.graphql(FeedDocument, {})).feed.endCursor;
  const email = `${word}@example.com`;
  const user = await givenUser(herald, { name: `Ada ${word}`, email, push_token: `device-${word}` });
  const texts = { subject: `Of ${word}`, html: `<p>Of ${word}</p>`, text: `Of ${word}` };
  const reason = `because of ${word}`;
  const template = await givenTemplate(herald, {
    code: `${word}/${randomUUID()}`,
    email: texts,
    push: { title: `Of ${word}`, body: 'A message' },
    unsubscribable: true,
    reason,
  });
  await herald.graphql(DraftTemplateVersionDocument, { input: { code: template, basedOn: 1, reason } });
  await herald.graphql(PublishTemplateDocument, { code: template, number: 2, reason });

  const client = `client-${word}`;
  const input = { clientId: client, name: `key of ${word}`, scopes: [...CLIENT_SCOPES] };
  const { apiKey, key } = (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
  const requestId = `request-${word}`;
  const send = (fields: object) =>
    givenSent(herald, user, template, { variables: {}, metadata: { of: word }, ...fields });
  const notification = await send({ request_id: requestId });
  const others = [await send({ notification_type: 'push' }), await send({})];
  // Nobody sends here: the client says itself that it failed.
  for (const id of [notification, others[1]])
    await herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status: 'failed', error: reason });
  const suppress = async (target: object) =>
    (await herald.graphql(SuppressDocument, { input: { notificationType: 'PUSH', reason, ...target } })).suppress.id;
  const suppressions = [await suppress({ userId: user, templateCode: template }), await suppress({ address: email })];
  const [content] = await herald.sql('notification', 'SELECT message FROM content WHERE notification_id = $1', [
    notification,
  ]);
  const [stored] = await herald.sql('user', `SELECT encode(hash, 'hex') AS digest FROM api_key WHERE id = $1`, [
    apiKey.id,
  ]);
  const [device] = await herald.sql('user', 'SELECT id FROM push_token WHERE user_id = $1', [user]);
  return {
    word,
    user,
    email,
    template,
    client,
    key,
    apiKey: apiKey.id,
    digest: String(stored?.['digest']),
    notification,
    requestId,
    reason,
    suppression: suppressions[0],
    device: String(device?.['id']),
    unsubscribeToken: String(content?.['message'].unsubscribeUrl).split('/').at(-1) ?? '',
    feedStart,
    /** What shows that an answer tells of it. */
    marks: [word, user, apiKey.id, notification, ...others, ...suppressions, String(device?.['id'])],
  };
}
