import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CreateApiKeyDocument, RevokeApiKeyDocument } from '../client/generated/operations.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { WebSocket } from 'ws';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';
import { watch } from './watch.ts';

/** The manners of both doors of server-sent events: who gets in, and how it ends. */

const QUERY = 'subscription { notificationStatusChanged { status } }';

let herald: Herald;
let notification: string;
beforeAll(async () => {
  herald = await startHerald({
    broker: 'embedded',
    parts: ['user', 'template', 'notification', 'gateway'],
    subscriptions: { maxConnections: 50, maxConnectionsPerViewer: 5, maxPerConnection: 5 },
    drainMs: 4_000,
    rates: { addressPerMinute: 0, clientPerMinute: 0, userPerMinute: 0 },
  });
  const body = sendBody(await givenUser(herald), await givenTemplate(herald));
  notification = (await herald.rest('POST', '/api/v1/notifications/', body)).body.notification_id;
});
afterAll(() => herald?.stop());

const gauge = async (name: string) => {
  const text = await (await fetch(`${herald.url}/metrics`)).text();
  return Number(new RegExp(`^${name}\\S* (\\d+)`, 'm').exec(text)?.[1]);
};
const isEmpty = async () =>
  (await gauge('herald_subscription_streams')) === 0 && (await gauge('herald_subscribers')) === 0;
const newKey = async () => {
  const input = { clientId: `client-${randomUUID().slice(0, 8)}`, name: 'a story', scopes: ['notifications:read'] };
  return (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
};
const get = (path: string, headers: Record<string, string> = {}, url = herald.url) =>
  fetch(url + path, { headers: { authorization: `Bearer ${herald.adminApiKey}`, ...headers } });

/** A connection with no client's manners. */
async function speak(...lines: string[]): Promise<Socket & { heard(): string }> {
  const { hostname, port } = new URL(herald.url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  let heard = '';
  socket.setEncoding('utf8').on('data', (text: string) => (heard += text));
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  return Object.assign(socket, { heard: () => heard });
}
const events = `GET /api/v1/notifications/{id}/events HTTP/1.1`;
const stream = `GET /graphql/stream?query=${encodeURIComponent(QUERY)} HTTP/1.1`;

test.each([
  ['plain events', events],
  ['GraphQL over events', stream],
])(
  'who leaves before anything is answered leaves nothing behind: %s',
  async (_, line) => {
    const { key } = await newKey();
    const headers = ['host: herald', `authorization: Bearer ${key}`, 'accept: text/event-stream'];
    for (let count = 0; count < 150; count += 1) {
      const socket = await speak(line.replace('{id}', notification), ...headers);
      await wait((count % 30) / 2);
      socket.destroy();
    }
    await until(isEmpty, { timeoutMs: 10_000 });
    // A client may have 5 connections: it still can.
    const five = await Promise.all(
      Array.from({ length: 5 }, () => speak(line.replace('{id}', randomUUID()), ...headers)),
    );
    await until(() => five.every((one) => one.heard().includes('HTTP/1.1')));
    expect(five.map((one) => one.heard().split('\r\n', 1)[0])).not.toContain('HTTP/1.1 429 Too Many Requests');
    for (const one of five) one.destroy();
  },
  30_000,
);

test('a key that is revoked while the body is on its way opens nothing', async () => {
  const { key, apiKey } = await newKey();
  const body = JSON.stringify({ query: QUERY });
  const socket = await speak(
    'POST /graphql/stream HTTP/1.1',
    'host: herald',
    `authorization: Bearer ${key}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
  );
  await wait(200);
  await herald.graphql(RevokeApiKeyDocument, { id: apiKey.id });
  await wait(6_000);
  socket.write(body);
  await until(() => socket.heard() !== '');
  expect(socket.heard()).toMatch(/^HTTP\/1\.1 401 /);
  expect(socket.heard()).toContain('the credential has run out or was revoked');
  socket.destroy();
}, 15_000);

describe('what is no request for events is told so', () => {
  test.each([
    ['a token given twice', `?stream_token=a&stream_token=b`, {}, 401],
    ['an id given twice', `?last_event_id=a&last_event_id=b`, {}, 400],
    ['an id that is no cursor', `?last_event_id=a`, {}, 400],
    ['an id in the header that is none', '', { 'last-event-id': 'a' }, 400],
  ])('plain events: %s', async (_, query, headers, status) => {
    const answer = await get(`/api/v1/notifications/${notification}/events${query}`, headers);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
  });

  test('GraphQL: variables that are no JSON, within the stream', async () => {
    const answer = await get(`/graphql/stream?query=${encodeURIComponent(QUERY)}&variables=x`);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toMatch(/event: next\ndata: .*"BAD_USER_INPUT".*\n\nevent: complete/);
  });

  test('GraphQL: who takes no events', async () => {
    expect((await get('/graphql/stream', { accept: 'text/html' })).status).toBe(406);
  });

  test.each([`/api/v1/notifications/{id}/events`, '/graphql/stream'])('HEAD %s', async (path) => {
    const answer = await fetch(herald.url + path.replace('{id}', notification), {
      method: 'HEAD',
      headers: { authorization: `Bearer ${herald.adminApiKey}` },
      signal: AbortSignal.timeout(3_000),
    });
    expect(answer.status).toBe(404);
    expect(await gauge('herald_subscription_streams')).toBe(0);
  });
});

test('a gateway that goes says so to who looks, takes no stream, answers requests, and ends what streams', async () => {
  const { url, stop } = await herald.addInstance('gateway');
  const open = await Promise.all(
    Array.from({ length: 20 }, () => get(`/api/v1/notifications/${notification}/events`, {}, url)),
  );
  const sockets = Array.from({ length: 20 }, () => watch({ ...herald, url }, ''));
  await until(() => sockets.every(({ socket }) => socket()?.readyState === WebSocket.OPEN));
  expect((await get('/health', {}, url)).status).toBe(200);
  const stopped = stop();
  const said = Promise.all([
    Promise.all(open.map(async (one) => ({ text: await one.text(), at: performance.now() }))),
    Promise.all(
      sockets.map(async ({ ended }) => ({ code: ((await ended) as { code: number }).code, at: performance.now() })),
    ),
  ]);
  const probe = await get('/health', {}, url);
  expect([probe.status, probe.headers.get('retry-after')]).toEqual([503, '5']);
  expect((await get('/ready', {}, url)).status).toBe(503);
  const late = await get(`/api/v1/notifications/${notification}/events`, {}, url);
  expect([late.status, ((await late.json()) as { detail: string }).detail]).toEqual([
    503,
    expect.stringContaining('stopping'),
  ]);
  expect((await get('/graphql/stream', {}, url)).status).toBe(503);
  expect((await get(`/api/v1/notifications/${notification}/`, {}, url)).status).toBe(200);
  const [texts, closes] = await said;
  for (const { text } of texts) expect(text).toContain('"pending"');
  for (const { code } of closes) expect(code).toBe(1001);
  // So that those who come back don't come as one.
  for (const times of [texts, closes].map((all) => all.map(({ at }) => at)))
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(1_000);
  await stopped;
}, 15_000);
