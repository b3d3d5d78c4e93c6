import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createClient } from '../client/client.ts';
import {
  FeedDocument,
  LogInDocument,
  NotificationDocument,
  NotificationsDocument,
  SuppressDocument,
  SuppressionsDocument,
  TemplateDocument,
  TemplateNotificationsDocument,
  UserDocument,
  UserNotificationsDocument,
  UsersDocument,
  type NotificationFilter,
} from '../client/generated/operations.ts';
import { ADMIN } from '../contracts/scopes.ts';
import { signRequest } from '../platform/trust.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';

const NOBODY = '00000000-0000-4000-8000-000000000000';
const PASSWORD = 'correct horse';

let herald: Herald;
let ada: { id: string; sent: string[] };
let zoe: { id: string; sent: string[] };
let receipt: string;
let code: string;

beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  [receipt, code] = [await givenTemplate(herald), await givenTemplate(herald)];
  const givenPerson = async () => {
    const id = await givenUser(herald);
    const sent: string[] = [];
    for (const template of [receipt, code, receipt, code, receipt]) sent.unshift(await givenSent(herald, id, template));
    return { id, sent };
  };
  [ada, zoe] = [await givenPerson(), await givenPerson()];
});
afterAll(() => herald?.stop());

const admin = () => createClient({ url: herald.url, apiKey: herald.adminApiKey });
type Paged = { edges: { node: { id: string } }[] } | undefined | null;
const idsOf = (page: Paged) => page?.edges.map(({ node }) => node.id);

async function logInAs(user: string) {
  const { user: found } = await admin().request(UserDocument, { id: user });
  const { logIn } = await createClient({ url: herald.url, apiKey: '' }).request(LogInDocument, {
    email: found?.email ?? '',
    password: PASSWORD,
  });
  return createClient({ url: herald.url, apiKey: logIn.accessToken });
}

/** Without what is the client's. */
const list = (args = ''): Query<{ notifications: { edges: { node: { id: string } }[] } }> => ({
  toString: () => `{ notifications${args} { edges { node { id } } } }`,
});

type Query<Result> = { toString(): string; __apiType?: (variables: object) => Result };

describe("a user's notifications", () => {
  const of = async (variables: { id: string; filter?: NotificationFilter; first?: number; after?: string }) =>
    (await admin().request(UserNotificationsDocument, variables)).user?.notifications;

  test('are those sent to them, newest first, page by page', async () => {
    const first = await of({ id: ada.id, first: 2 });
    expect(idsOf(first)).toEqual(ada.sent.slice(0, 2));
    expect(first?.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
    const rest = await of({ id: ada.id, first: 3, after: first?.pageInfo.endCursor ?? '' });
    expect(idsOf(rest)).toEqual(ada.sent.slice(2));
    expect(rest?.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
  });

  test('go through the same filter as the list of all', async () => {
    const [newest = '', ...older] = ada.sent;
    const { notification } = await admin().request(NotificationDocument, { id: newest });
    const { requestId = '', createdAt = '' } = notification ?? {};
    const fits = async (filter: NotificationFilter) => idsOf(await of({ id: ada.id, filter }));
    expect(await fits({ templateCode: receipt })).toEqual([ada.sent[0], ada.sent[2], ada.sent[4]]);
    expect(await fits({ requestId })).toEqual([newest]);
    expect(await fits({ since: createdAt })).toEqual([newest]);
    expect(await fits({ until: createdAt })).toEqual(older);
    expect(await fits({ status: 'PENDING', notificationType: 'EMAIL' })).toEqual(ada.sent);
    expect(await fits({ userId: zoe.id })).toEqual([]);
    for (const filter of [{ status: 'DELIVERED' }, { reasons: ['BOUNCED'] }, { scheduled: true }] as const)
      expect(await fits(filter as NotificationFilter), JSON.stringify(filter)).toEqual([]);
  });

  test('and those of a template are a connection of the template, too', async () => {
    const { template } = await admin().request(TemplateNotificationsDocument, { code, first: 3 });
    expect(idsOf(template?.notifications)).toEqual([zoe.sent[1], zoe.sent[3], ada.sent[1]]);
  });
});

describe('an access token', () => {
  test('opens what was sent to its user, one by one, in lists and in the feed', async () => {
    const me = await logInAs(ada.id);
    const [mine = ''] = ada.sent;
    const one: Query<{ notification: unknown }> = {
      toString: () => 'query ($id: ID!) { notification(id: $id) { id status user { name } template { code } } }',
    };
    expect((await me.request(one, { id: mine })).notification).toEqual({
      id: mine,
      status: 'PENDING',
      user: { name: 'Ada Lovelace' },
      template: { code: receipt },
    });
    expect(idsOf((await me.request(list(), {})).notifications)).toEqual(ada.sent);
    expect(idsOf((await me.request(UserNotificationsDocument, { id: ada.id })).user?.notifications)).toEqual(ada.sent);
    const { feed: start } = await me.request(FeedDocument, {});
    const [hers, his] = [await givenSent(herald, zoe.id, code), await givenSent(herald, ada.id, code)];
    zoe.sent.unshift(hers);
    ada.sent.unshift(his);
    await expect
      .poll(async () => (await me.request(FeedDocument, { after: start.endCursor })).feed.events, { timeout: 5_000 })
      .toMatchObject([{ notificationId: his, status: 'PENDING' }]);
  });

  test('opens nothing of what was sent to others', async () => {
    const me = await logInAs(ada.id);
    const [hers = ''] = zoe.sent;
    expect((await me.request(NotificationDocument, { id: hers })).notification).toBeNull();
    const { notifications } = await me.request(list(`(filter: { userId: "${zoe.id}" })`), {});
    expect(notifications.edges).toEqual([]);
    expect((await me.request(UserNotificationsDocument, { id: zoe.id })).user).toBeNull();
    await expect(me.request(TemplateDocument, { code })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(me.request(SuppressionsDocument, {})).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });
});

test('another client sees none of them, whichever way it asks', async () => {
  const query = `query ($user: ID!, $code: ID!, $id: ID!, $representations: [_Any!]!) {
    notification(id: $id) { id }
    notifications { edges { node { id } } }
    byUser: notifications(filter: { userId: $user }) { edges { node { id } } }
    byTemplate: notifications(filter: { templateCode: "${code}" }) { edges { node { id } } }
    _entities(representations: $representations) {
      ... on User { notifications { edges { node { id } } } }
      ... on Template { notifications { edges { node { id } } } }
      ... on Notification { requestId }
    }
  }`.replace('$user: ID!, $code: ID!, ', '$user: ID!, ');
  const representations = [
    { __typename: 'User', id: ada.id },
    { __typename: 'Template', code },
    { __typename: 'Notification', id: ada.sent[0] },
  ];
  const body = JSON.stringify({ query, variables: { user: ada.id, id: ada.sent[0], representations } });
  const viewer = { ...ADMIN, kind: 'client', id: 'somebody-else' } as const;
  const headers = signRequest(
    { method: 'POST', path: '/graphql', body },
    { viewer, requestId: 'story' },
    { caller: 'gateway', callee: 'notification' },
    herald.secrets.notification,
  );
  const none = { edges: [] };
  expect((await herald.rest('POST', `${herald.urlOf('notification')}/graphql`, body, headers)).body).toEqual({
    data: {
      notification: null,
      notifications: none,
      byUser: none,
      byTemplate: none,
      _entities: [{ notifications: none }, { notifications: none }, null],
    },
  });
});

test('a host application that names a user or template there can not be gets null for it, and its neighbours their lists', async () => {
  const query = `query ($representations: [_Any!]!) { _entities(representations: $representations) {
    ... on User { notifications(first: 1) { edges { node { user { id } } } } }
    ... on Template { notifications(first: 1) { edges { node { template { code } } } } }
  } }`;
  const representations = [
    { __typename: 'User', id: 'customer-7' },
    { __typename: 'User', id: ada.id.toUpperCase() },
    { __typename: 'Template', code: 'a\0b' },
    { __typename: 'Template', code },
  ];
  const body = JSON.stringify({ query, variables: { representations } });
  const headers = signRequest(
    { method: 'POST', path: '/graphql', body },
    { viewer: ADMIN, requestId: 'story' },
    { caller: 'gateway', callee: 'notification' },
    herald.secrets.notification,
  );
  const listOf = (node: object) => ({ notifications: { edges: [{ node }] } });
  expect((await herald.rest('POST', `${herald.urlOf('notification')}/graphql`, body, headers)).body).toEqual({
    data: { _entities: [null, listOf({ user: { id: ada.id } }), null, listOf({ template: { code } })] },
  });
});

test('a page with everything that hangs on its notifications costs one statement for each of these, not one for each row', async () => {
  const query: Query<{ notifications: { edges: unknown[] } }> = {
    toString: () => `{
      notifications(first: 10) { edges { node {
        status metadata
        timeline { event }
        deliveryAttempts { number }
        user { name pushTokens { kind } notifications(first: 2) { edges { node { status } } } }
        template { defaultLocale notifications(first: 2) { edges { node { id } } } }
      } } }
    }`,
  };
  const asked = await statementsDuring(() => admin().request(query, {}));
  const count = (table: RegExp) => asked.filter((text) => table.test(text)).length;
  expect({
    notifications: count(/n\.user_id AS "userId"/),
    contents: count(/"content"/),
    timelines: count(/FROM timeline/),
    attempts: count(/FROM attempt/),
    users: count(/FROM "public"."user" /),
    devices: count(/FROM "public"."push_token"/),
    templates: count(/FROM "public"."template" /),
  }).toEqual({ notifications: 3, contents: 1, timelines: 1, attempts: 1, users: 1, devices: 1, templates: 1 });
});

/** The SQL of requests: what the services do by themselves meanwhile names other tables. */
async function statementsDuring(act: () => Promise<unknown>): Promise<string[]> {
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  try {
    await act();
    return spy.mock.calls.map(([query]: unknown[]) =>
      typeof query === 'string' ? query : (query as { text: string }).text,
    );
  } finally {
    spy.mockRestore();
  }
}

describe('a list refuses', () => {
  const refused = [
    ['a page of none', { first: 0 }, 'first'],
    ['a page below none', { first: -1 }, 'first'],
    ['a page of more than 200', { first: 201 }, 'first'],
    ['an empty cursor', { after: '' }, 'after'],
    ['a cursor that is none', { after: 'ada' }, 'after'],
    ['a cursor with a NUL', { after: '\0' }, 'after'],
    ['a cursor of 90 KB', { after: 'x'.repeat(90_000) }, 'after'],
    ['half of a surrogate pair for a cursor', { after: '\ud800' }, 'after'],
    ['a userId that is none', { filter: { userId: 'ada' } }, 'filter.userId'],
    ['a userId that would change the statement', { filter: { userId: `${NOBODY}' OR true --` } }, 'filter.userId'],
    ['an empty requestId', { filter: { requestId: '' } }, 'filter.requestId'],
    ['a requestId with a NUL', { filter: { requestId: 'a\0b' } }, 'filter.requestId'],
    ['a requestId of 90 KB', { filter: { requestId: 'x'.repeat(90_000) } }, 'filter.requestId'],
    ['half of a surrogate pair for a templateCode', { filter: { templateCode: '\ud800' } }, 'filter.templateCode'],
    ['a templateCode with a line break', { filter: { templateCode: 'a\nb' } }, 'filter.templateCode'],
  ] as const;
  const ways = [
    ['notifications', (asked: object) => admin().request(NotificationsDocument, asked as { first: number })],
    ["a user's notifications", (asked: object) => admin().request(UserNotificationsDocument, { id: ada.id, ...asked })],
    [
      "a template's notifications",
      (asked: object) => admin().request(TemplateNotificationsDocument, { code, ...asked }),
    ],
  ] as const;

  test.each(
    ways.flatMap(([list, ask]) => refused.map(([what, asked, field]) => [list, what, ask, asked, field] as const)),
  )('%s: %s', async (_, __, ask, asked, field) => {
    await expect(ask(asked)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
  });

  test("another list's cursor, and takes quotes and wildcards for what they are", async () => {
    const reason = 'a complaint';
    await admin().request(SuppressDocument, { input: { notificationType: 'EMAIL', userId: NOBODY, reason } });
    const cursors = [
      (await admin().request(SuppressionsDocument, {})).suppressions.pageInfo.endCursor,
      (await admin().request(UsersDocument, { first: 1 })).users.pageInfo.endCursor,
    ];
    for (const after of cursors) {
      expect(after).toEqual(expect.any(String));
      for (const [list, ask] of ways)
        await expect(ask({ after }), list).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field: 'after' });
    }
    const { notifications } = await admin().request(NotificationsDocument, { first: 1 });
    const after = notifications.pageInfo.endCursor;
    for (const [document, variables] of [
      [SuppressionsDocument, { after }],
      [UsersDocument, { after }],
    ] as const)
      await expect(admin().request(document as Query<unknown>, variables)).rejects.toMatchObject({ field: 'after' });
    for (const text of [`' OR true --`, '%', '_', `"; DROP TABLE notification; --`])
      for (const filter of [{ requestId: text }, { templateCode: text }])
        expect((await admin().request(NotificationsDocument, { first: 1, filter })).notifications.edges).toEqual([]);
  });

  test('nothing of an id that nobody has', async () => {
    const id = randomUUID();
    expect((await admin().request(NotificationDocument, { id })).notification).toBeNull();
    expect((await admin().request(NotificationDocument, { id: 'x'.repeat(90_000) })).notification).toBeNull();
    expect((await admin().request(UserNotificationsDocument, { id })).user).toBeNull();
    expect((await admin().request(TemplateNotificationsDocument, { code: 'no/such' })).template).toBeNull();
  });
});
