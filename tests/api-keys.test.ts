import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient, type Document } from '../client/client.ts';
import {
  ApiKeysDocument,
  CreateApiKeyDocument,
  FeedDocument,
  NotificationDocument,
  NotificationsDocument,
  RevokeApiKeyDocument,
  SuppressionsDocument,
  UserNotificationsDocument,
  type CreateApiKeyInput,
} from '../client/generated/operations.ts';
import { CLIENT_SCOPES } from '../contracts/scopes.ts';
import type { Method } from './doors.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const SENDS = '/api/v1/notifications/';
const READ_AND_SEND = ['notifications:send', 'notifications:read'];

let herald: Herald;
let user: string;
let template: string;

beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  [user, template] = [await givenUser(herald), await givenTemplate(herald)];
});
afterAll(() => herald?.stop());

const clientIdOf = () => `client-${randomUUID().slice(0, 8)}`;
const create = async (input: Partial<CreateApiKeyInput> = {}) =>
  (
    await herald.graphql(CreateApiKeyDocument, {
      input: { clientId: clientIdOf(), name: 'a story', scopes: READ_AND_SEND, ...input },
    })
  ).createApiKey;
const by = (key: string) => ({ authorization: `Bearer ${key}` });
const as = (key: string) => createClient({ url: herald.url, apiKey: key });
const send = (key: string, fields: object = {}) =>
  herald.rest('POST', SENDS, sendBody(user, template, fields), by(key));

describe('a key', () => {
  test('opens what its scopes say, at every door, and nothing else', async () => {
    const { key } = await create({ scopes: ['users:read', 'notifications:send'] });
    expect((await send(key)).status).toBe(202);
    expect((await herald.rest('GET', `/api/v1/users/${user}`, undefined, by(key))).status).toBe(200);
    expect(
      (await herald.rest('GET', `/api/v1/users/${user}`, undefined, { authorization: undefined, 'x-api-key': key }))
        .status,
    ).toBe(200);
    const denied: [Method, string, object | undefined, string][] = [
      ['GET', SENDS + randomUUID(), undefined, 'notifications:read'],
      ['DELETE', `/api/v1/users/${user}`, undefined, 'users:write'],
      ['GET', `/api/v1/templates/${template}`, undefined, 'templates:read'],
      ['POST', '/api/v1/email/status/', { notification_id: randomUUID(), status: 'delivered' }, 'status:report'],
    ];
    for (const [method, path, body, scope] of denied) {
      const answer = await herald.rest(method, path, body, by(key));
      expectProblem(answer, 403);
      expect(answer.body.detail).toContain(scope);
    }
  });

  test('with every scope that a client may have opens none of what is the admin’s', async () => {
    const { key } = await create({ scopes: [...CLIENT_SCOPES] });
    const input = { clientId: 'another', name: 'stolen', scopes: ['users:read'] };
    const asked: [Document<unknown, object>, object][] = [
      [CreateApiKeyDocument as Document<unknown, object>, { input }],
      [RevokeApiKeyDocument as Document<unknown, object>, { id: randomUUID() }],
      [ApiKeysDocument, {}],
    ];
    for (const [document, variables] of asked)
      await expect(as(key).request(document, variables)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('is shown once: neither the database nor any list holds it', async () => {
    const { key, apiKey } = await create();
    expect(key).toMatch(/^hk_[0-9a-f]{8}_[\w-]{43}$/);
    expect(key.startsWith(apiKey.prefix)).toBe(true);
    const { apiKeys } = await herald.graphql(ApiKeysDocument, { clientId: apiKey.clientId });
    expect(apiKeys.edges.map(({ node }) => node)).toEqual([apiKey]);
    const stored = JSON.stringify(await herald.sql('user', 'SELECT * FROM api_key'));
    expect(stored).not.toContain(key.slice(12));
    expect(JSON.stringify(apiKeys)).not.toContain(key.slice(12));
  });

  test('tells when it was last used', async () => {
    const { key, apiKey } = await create();
    expect(apiKey.lastUsedAt).toBeNull();
    const before = Date.now();
    await send(key);
    const { apiKeys } = await herald.graphql(ApiKeysDocument, { clientId: apiKey.clientId });
    expect(Date.parse(apiKeys.edges[0]?.node.lastUsedAt ?? '')).toBeGreaterThan(before - 60_000);
  });

  test('that is revoked opens nothing after 5 s at every door, and stays revoked', async () => {
    const { key, apiKey } = await create({ scopes: ['notifications:send', 'users:read', 'templates:read'] });
    const doors = () =>
      Promise.all([
        send(key),
        herald.rest('GET', `/api/v1/users/${user}`, undefined, by(key)),
        herald.rest('GET', `/api/v1/templates/${template}`, undefined, by(key)),
        herald.rest('POST', '/graphql', { query: '{ __typename }' }, by(key)),
      ]).then((answers) => answers.map(({ status }) => status));
    expect(await doors()).toEqual([202, 200, 200, 200]);
    const { revokeApiKey: revoked } = await herald.graphql(RevokeApiKeyDocument, { id: apiKey.prefix });
    expect(revoked).toMatchObject({ id: apiKey.id, revokedBy: 'admin', revokedAt: expect.any(String) });
    await until(async () => (await doors()).every((status) => status === 401), { timeoutMs: 5_000, everyMs: 100 });
    expect((await herald.graphql(RevokeApiKeyDocument, { id: apiKey.id })).revokeApiKey).toEqual({
      ...revoked,
      lastUsedAt: expect.any(String),
    });
  });

  test('ends by itself', async () => {
    const { key } = await create({ expiresAt: new Date(Date.now() + 500).toISOString() });
    await until(async () => (await send(key)).status === 401, { timeoutMs: 6_000, everyMs: 100 });
  });

  test.each([
    ['a part of one', (key: string) => key.slice(0, -1)],
    ['its prefix', (key: string) => key.slice(0, 11)],
    ['another of the same prefix', (key: string) => key.slice(0, 12) + 'A'.repeat(43)],
    ['one in another case', (key: string) => key.toUpperCase()],
  ])('%s opens nothing', async (_, change) => {
    const { key } = await create();
    expect((await send(change(key))).status).toBe(401);
  });
});

describe('a client', () => {
  test('sees its own notifications and nobody else’s, whichever way it asks', async () => {
    const [mine, other] = [await create({ scopes: [...CLIENT_SCOPES] }), await create({ scopes: [...CLIENT_SCOPES] })];
    const requestId = randomUUID();
    const start = (await as(mine.key).request(FeedDocument, {})).feed.endCursor;
    const ids = [];
    for (const { key } of [mine, other]) {
      const { status, body } = await send(key, { request_id: requestId });
      expect({ status, duplicate: body.duplicate }).toEqual({ status: 202, duplicate: false });
      ids.push(body.notification_id as string);
    }
    const [id = '', foreign = ''] = ids;
    expect(foreign).not.toBe(id);
    const me = as(mine.key);
    expect((await me.request(NotificationDocument, { id })).notification?.id).toBe(id);
    expect((await me.request(NotificationDocument, { id: foreign })).notification).toBeNull();
    expectProblem(await herald.rest('GET', SENDS + foreign, undefined, by(mine.key)), 404);
    for (const act of ['cancel', 'replay', 'discard'])
      expectProblem(await herald.rest('POST', `${SENDS}${foreign}/${act}/`, { reason: 'mine?' }, by(mine.key)), 404, [
        'id',
      ]);
    expect(
      (
        await herald.rest(
          'POST',
          '/api/v1/email/status/',
          { notification_id: foreign, status: 'delivered' },
          by(mine.key),
        )
      ).status,
    ).toBe(404);
    const idsOf = (page?: { edges: { node: { id: string } }[] } | null) => page?.edges.map(({ node }) => node.id);
    for (const filter of [{}, { requestId }, { userId: user }])
      expect(idsOf((await me.request(NotificationsDocument, { first: 50, filter })).notifications)).toEqual([id]);
    expect(idsOf((await me.request(UserNotificationsDocument, { id: user })).user?.notifications)).toEqual([id]);
    const events = await until(async () => {
      const { feed } = await me.request(FeedDocument, { after: start });
      return feed.events.length > 0 && feed.events;
    });
    expect(events.map(({ notificationId }) => notificationId)).toEqual([id]);
  });

  test('keeps what it sent when its key is changed for another', async () => {
    const clientId = clientIdOf();
    const [older, newer] = [await create({ clientId }), await create({ clientId })];
    const { body } = await send(older.key, { request_id: 'invoice-1' });
    await herald.graphql(RevokeApiKeyDocument, { id: older.apiKey.id });
    const again = await send(newer.key, { request_id: 'invoice-1', variables: { name: 'Ada' } });
    expect(again.body).toMatchObject({ notification_id: body.notification_id, duplicate: true });
    expect((await herald.rest('GET', SENDS + body.notification_id, undefined, by(newer.key))).status).toBe(200);
  });
});

test('while the user service is away nobody can say whose a key is: 503, and not 401', async () => {
  const { key } = await create();
  await herald.stopPart('user');
  try {
    const answers = await Promise.all([
      send(key),
      herald.rest('GET', `${herald.urlOf('template')}/api/v1/templates/${template}`, undefined, by(key)),
    ]);
    for (const answer of answers) {
      expectProblem(answer, 503);
      expect(answer.headers['retry-after']).toBe('2');
    }
    const { status, body } = await herald.rest('POST', '/graphql', { query: '{ __typename }' }, by(key));
    expect({ status, error: body.errors[0].extensions.code }).toEqual({ status: 503, error: 'UNAVAILABLE' });
    // What no key looks like needs no answer.
    expect((await send('hk_wrong')).status).toBe(401);
  } finally {
    await herald.startPart('user');
  }
});

describe('making a key refuses', () => {
  test.each<[string, Partial<CreateApiKeyInput>, string]>([
    ['a client without a name', { clientId: '' }, 'clientId'],
    ['a client in upper case', { clientId: 'Billing' }, 'clientId'],
    ['a client called like the admin', { clientId: 'admin' }, 'clientId'],
    ['a client called like a process', { clientId: 'worker' }, 'clientId'],
    ['a client with a name of 90 KB', { clientId: 'x'.repeat(90_000) }, 'clientId'],
    ['half of a surrogate pair', { clientId: '\ud800' }, 'clientId'],
    ['an empty name', { name: ' ' }, 'name'],
    ['a name with a line break', { name: 'a\nb' }, 'name'],
    ['a name of half a surrogate pair', { name: '\ud800' }, 'name'],
    ['no scope', { scopes: [] }, 'scopes'],
    ['an unknown scope', { scopes: ['notifications:read', 'everything'] }, 'scopes'],
    ["the admin's scope", { scopes: ['keys:manage'] }, 'scopes'],
    ['a scope of the processes', { scopes: ['keys:verify'] }, 'scopes'],
    ['an end in the past', { expiresAt: '2020-01-01T00:00:00Z' }, 'expiresAt'],
  ])('%s', async (_, input, field) => {
    const count = () => herald.sql('user', 'SELECT count(*) FROM api_key');
    const before = await count();
    await expect(create(input)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
    expect(await count()).toEqual(before);
  });

  test('and the lists refuse what others do', async () => {
    await expect(herald.graphql(RevokeApiKeyDocument, { id: randomUUID() })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      field: 'id',
    });
    await expect(herald.graphql(RevokeApiKeyDocument, { id: "' OR true --" })).rejects.toMatchObject({ field: 'id' });
    await expect(herald.graphql(ApiKeysDocument, { first: 201 })).rejects.toMatchObject({ field: 'first' });
    await expect(herald.graphql(ApiKeysDocument, { after: 'x' })).rejects.toMatchObject({ field: 'after' });
    expect((await herald.graphql(ApiKeysDocument, { clientId: '%' })).apiKeys.edges).toEqual([]);
    expect((await herald.graphql(SuppressionsDocument, {})).suppressions.edges).toEqual([]);
  });
});
