import { ApolloClient, gql, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { createClient as createUrql, fetchExchange, subscriptionExchange } from '@urql/core';
import { randomUUID } from 'node:crypto';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import { request } from 'undici';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../client/client.ts';
import { CreateApiKeyDocument, RevokeApiKeyDocument, WatchUserDocument } from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser, sendBody } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';
import { EVENT, type WatchedEvent } from './watch.ts';

/** The clients that people use, each over the transport it was made for. */

const SUBSCRIPTION = `subscription Watch($userId: ID!, $after: String) {
  notificationStatusChanged(userId: $userId, after: $after) { ${EVENT} }
}`;

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  [user, template] = [await givenUser(herald), await givenTemplate(herald)];
});
afterAll(() => herald?.stop());

const socketUrl = () => `${herald.url.replace('http', 'ws')}/graphql`;
const authorization = () => `Bearer ${herald.adminApiKey}`;
const send = () => givenSent(herald, user, template);
const report = (id: string, status = 'delivered') =>
  herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status });
type Data = { notificationStatusChanged: WatchedEvent };

/** Sends until the client sees one, then changes that one's status, and waits until it sees that as well. */
async function expectEvents(seen: WatchedEvent[]): Promise<void> {
  await until(async () => {
    await send();
    return seen.length > 0;
  });
  const id = seen[0]?.notification.id ?? '';
  await report(id);
  await until(() => seen.some((event) => event.notification.id === id && event.status === 'DELIVERED'));
  const cursors = seen.map(({ cursor }) => cursor);
  expect(new Set(cursors).size).toBe(cursors.length);
}

test('graphql-ws', async () => {
  const client = createWsClient({
    url: socketUrl(),
    connectionParams: { authorization: authorization() },
    webSocketImpl: WebSocket,
  });
  const seen: WatchedEvent[] = [];
  const stop = client.subscribe<Data>(
    { query: SUBSCRIPTION, variables: { userId: user } },
    { next: ({ data }) => data && seen.push(data.notificationStatusChanged), error: () => {}, complete: () => {} },
  );
  await expectEvents(seen);
  stop();
  await client.dispose();
});

test('Apollo Client', async () => {
  const socket = createWsClient({
    url: socketUrl(),
    connectionParams: { authorization: authorization() },
    webSocketImpl: WebSocket,
  });
  const client = new ApolloClient({ link: new GraphQLWsLink(socket), cache: new InMemoryCache() });
  const seen: WatchedEvent[] = [];
  const subscription = client
    .subscribe<Data>({ query: gql(SUBSCRIPTION), variables: { userId: user } })
    .subscribe(({ data }) => data && seen.push(data.notificationStatusChanged));
  await expectEvents(seen);
  subscription.unsubscribe();
  client.stop();
  await socket.dispose();
});

test('urql', async () => {
  const socket = createWsClient({
    url: socketUrl(),
    connectionParams: { authorization: authorization() },
    webSocketImpl: WebSocket,
  });
  const client = createUrql({
    url: `${herald.url}/graphql`,
    preferGetMethod: false,
    exchanges: [
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query = '', variables }) => ({
          subscribe: (sink) => ({
            unsubscribe: socket.subscribe({ query, variables: variables as Record<string, unknown> }, sink as never),
          }),
        }),
      }),
    ],
  });
  const seen: WatchedEvent[] = [];
  const { unsubscribe } = client
    .subscription<Data>(SUBSCRIPTION, { userId: user })
    .subscribe(({ data }) => data && seen.push(data.notificationStatusChanged));
  await expectEvents(seen);
  unsubscribe();
  await socket.dispose();
});

test('graphql-sse', async () => {
  const client = createSseClient({
    url: `${herald.url}/graphql/stream`,
    headers: { authorization: authorization() },
    retryAttempts: 0,
  });
  const seen: WatchedEvent[] = [];
  const stop = client.subscribe<Data>(
    { query: SUBSCRIPTION, variables: { userId: user } },
    { next: ({ data }) => data && seen.push(data.notificationStatusChanged), error: () => {}, complete: () => {} },
  );
  await expectEvents(seen);
  stop();
  client.dispose();
});

test('@herald/client, over a gateway that is started anew: nothing is missing, nothing comes twice', async () => {
  const seen: string[] = [];
  const connections: boolean[] = [];
  const ended = new AbortController();
  const reading = (async () => {
    const options = {
      signal: ended.signal,
      backOff: { baseMs: 20, capMs: 200 },
      onConnected: ({ isReconnected }: { isReconnected: boolean }) => void connections.push(isReconnected),
    };
    const client = createClient({ url: herald.url, apiKey: herald.adminApiKey });
    for await (const { notificationStatusChanged: event } of client.subscribe(
      WatchUserDocument,
      { userId: user },
      options,
    ))
      seen.push(`${event.notification.id} ${event.status}`);
  })();
  await until(async () => {
    await send();
    return seen.length > 0;
  });
  const ids: string[] = [];
  for (let round = 0; round < 3; round += 1) {
    ids.push(await send());
    await herald.stopPart('gateway');
    await herald.startPart('gateway');
    ids.push(await send());
    await until(() => connections.filter(Boolean).length > round, { timeoutMs: 15_000 });
  }
  await until(() => ids.every((id) => seen.includes(`${id} PENDING`)), { timeoutMs: 15_000 });
  expect(new Set(seen).size).toBe(seen.length);
  ended.abort();
  await reading;
}, 60_000);

describe('server-sent events', () => {
  /** A stream as text, read until it holds so many messages, or ends. */
  const open = async (
    path: string,
    {
      method = 'GET',
      body,
      headers = {},
    }: { method?: 'GET' | 'POST'; body?: object; headers?: Record<string, string> } = {},
  ) => {
    const aborted = new AbortController();
    const response = await request(`${herald.url}${path}`, {
      method,
      headers: {
        authorization: authorization(),
        ...(body && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body && { body: JSON.stringify(body) }),
      signal: aborted.signal,
    });
    let text = '';
    const ended = (async () => {
      for await (const chunk of response.body) text += String(chunk);
    })().catch(() => {});
    const messages = () =>
      text
        .split('\n\n')
        .filter((part) => part.includes('data:'))
        .map((part) => Object.fromEntries(part.split('\n').map((line) => /^(\w+): ?(.*)$/.exec(line)?.slice(1) ?? [])));
    return {
      status: response.statusCode,
      headers: response.headers,
      ended,
      text: () => text,
      messages,
      async close() {
        aborted.abort();
        await ended;
      },
    };
  };
  const watchOne = (id: string, headers: Record<string, string> = {}, query = '') =>
    open(`/api/v1/notifications/${id}/events${query}`, { headers });

  test('a notification, as the REST paths spell it; and from any event on', async () => {
    const id = await send();
    const stream = await watchOne(id);
    expect(stream.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    await until(() => stream.messages().length === 1);
    await report(id);
    await until(() => stream.messages().length === 2);
    const [first, second] = stream.messages();
    expect(first).toMatchObject({ event: 'status', id: expect.stringMatching(/^[\w-]+$/) });
    expect(JSON.parse(first?.['data'] ?? '')).toEqual({
      notification_id: id,
      status: 'pending',
      previous_status: null,
      reason: null,
      attempt: 0,
      at: expect.any(String),
    });
    expect(JSON.parse(second?.['data'] ?? '')).toMatchObject({ status: 'delivered', previous_status: 'pending' });
    for (const [headers, query] of [
      [{ 'last-event-id': first?.['id'] ?? '' }, ''],
      [{}, `?last_event_id=${first?.['id']}`],
    ] as const) {
      const resumed = await watchOne(id, headers, query);
      await until(() => resumed.messages().length === 1);
      expect(resumed.messages()[0]).toEqual(second);
      await resumed.close();
    }
    await stream.close();
    await until(async () =>
      (await (await fetch(`${herald.url}/metrics`)).text()).includes(
        'herald_subscription_streams{service="gateway"} 0',
      ),
    );
  });

  test('refusals are problem details, before anything is streamed', async () => {
    const id = await send();
    const other = await send();
    const token = async (of: string) =>
      (await herald.rest('POST', `/api/v1/notifications/${of}/stream-token/`)).body.stream_token as string;
    const cases: [Promise<{ status: number; text: () => string; ended: Promise<void> }>, number, string][] = [
      [watchOne(randomUUID()), 404, 'notification_id'],
      [watchOne('ada'), 400, 'notification_id'],
      [watchOne(id, { 'last-event-id': 'forged' }), 400, 'Last-Event-ID'],
      [watchOne(id, { authorization: 'Bearer wrong' }), 401, 'no valid credential'],
      [watchOne(id, { authorization: '' }, '?stream_token=abc.def'), 401, 'stream_token'],
      [watchOne(id, { authorization: '' }, `?stream_token=${await token(other)}`), 401, 'stream_token'],
    ];
    for (const [asked, status, words] of cases) {
      const answer = await asked;
      await answer.ended;
      expect(answer.status).toBe(status);
      expect(answer.text()).toContain(words);
    }
    const opened = await watchOne(id, { authorization: '' }, `?stream_token=${await token(id)}`);
    expect(opened.status).toBe(200);
    await opened.close();
  });

  test('GraphQL over them: by GET and POST, with refusals within the stream', async () => {
    const id = await send();
    const query = `subscription ($id: ID!) { notificationStatusChanged(notificationId: $id) { status } }`;
    const variables = JSON.stringify({ id });
    const byGet = await open(`/graphql/stream?${new URLSearchParams({ query, variables }).toString()}`);
    const byPost = await open('/graphql/stream', { method: 'POST', body: { query, variables: { id } } });
    for (const stream of [byGet, byPost]) {
      await until(() => stream.messages().length === 1);
      expect(stream.messages()).toEqual([
        { event: 'next', data: JSON.stringify({ data: { notificationStatusChanged: { status: 'PENDING' } } }) },
      ]);
      await stream.close();
    }
    for (const [asked, code] of [
      [{ query: 'subscription { nothing }' }, 'GRAPHQL_VALIDATION_FAILED'],
      [{ query: '{ __typename }' }, 'BAD_USER_INPUT'],
      [{ query, variables: { id: randomUUID() } }, 'NOT_FOUND'],
      [{}, 'BAD_USER_INPUT'],
    ] as const) {
      const refused = await open('/graphql/stream', { method: 'POST', body: asked });
      await refused.ended;
      expect(refused.messages().map(({ event }) => event)).toEqual(['next', 'complete']);
      expect(JSON.parse(refused.messages()[0]?.['data'] ?? '')).toMatchObject({
        errors: [{ extensions: { code, requestId: expect.any(String) } }],
      });
    }
    const nobody = await open('/graphql/stream', {
      method: 'POST',
      body: { query },
      headers: { authorization: 'Bearer wrong' },
    });
    await nobody.ended;
    expect({ status: nobody.status, body: JSON.parse(nobody.text()) as unknown }).toMatchObject({
      status: 401,
      body: { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] },
    });
  });

  test('a key that is revoked ends its streams within 5 s', async () => {
    const input = { clientId: 'streams', name: 'a story', scopes: ['notifications:send', 'notifications:read'] };
    const { key, apiKey } = (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
    const by = { authorization: `Bearer ${key}` };
    const { body } = await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template), by);
    const query = `subscription { notificationStatusChanged(userId: "${user}") { status } }`;
    const streams = [
      await watchOne(body.notification_id, by),
      await open('/graphql/stream', { method: 'POST', body: { query }, headers: by }),
    ];
    await herald.graphql(RevokeApiKeyDocument, { id: apiKey.id });
    const since = performance.now();
    await Promise.all(streams.map(({ ended }) => ended));
    expect(performance.now() - since).toBeLessThan(5_000);
  }, 10_000);
});
