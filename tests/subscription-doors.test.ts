import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { request } from 'undici';
import { WebSocket, type ClientOptions } from 'ws';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../client/client.ts';
import { CreateApiKeyDocument, LogInDocument, RevokeApiKeyDocument } from '../client/generated/operations.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';
import { watch as watchAt, type Watch } from './watch.ts';

/** The manners of the WebSocket: who gets in, what is taken, and how it ends. */

let herald: Herald;
let user: string;
let template: string;
const watches: Watch[] = [];
const sockets: WebSocket[] = [];

beforeAll(async () => {
  herald = await startHerald({
    broker: 'embedded',
    parts: ['user', 'template', 'notification', 'gateway'],
    corsOrigins: ['https://app.example.com'],
    session: { accessSeconds: 2 },
    subscriptions: { maxConnections: 40, maxConnectionsPerViewer: 3, maxPerConnection: 5 },
    rates: { addressPerMinute: 0, clientPerMinute: 0, userPerMinute: 0 },
  });
  [user, template] = [await givenUser(herald), await givenTemplate(herald)];
});
afterEach(async () => {
  for (const one of watches.splice(0)) await one.stop();
  for (const socket of sockets.splice(0)) socket.terminate();
  await until(async () => (await gauge('herald_subscription_sockets')) === 0);
});
afterAll(() => herald?.stop());

const gauge = async (name: string) => {
  const text = await (await fetch(`${herald.url}/metrics`)).text();
  return Number(new RegExp(`^${name}\\S* (\\d+)`, 'm').exec(text)?.[1]);
};
const watch = (args: Parameters<typeof watchAt>[1], options?: Parameters<typeof watchAt>[2]) => {
  const one = watchAt(herald, args, options);
  watches.push(one);
  return one;
};
const newKey = async (scopes = ['notifications:send', 'notifications:read']) => {
  const input = { clientId: `client-${randomUUID().slice(0, 8)}`, name: 'a story', scopes };
  return (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
};
const send = async (key = herald.adminApiKey, fields: object = {}): Promise<string> => {
  const headers = { authorization: `Bearer ${key}` };
  return (await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template, fields), headers)).body
    .notification_id;
};

/** A WebSocket with no client's manners. */
function open({
  path = '/graphql',
  protocol = 'graphql-transport-ws',
  ...options
}: Omit<ClientOptions, 'protocol'> & { path?: string; protocol?: string | string[] } = {}) {
  const socket = new WebSocket(`${herald.url.replace('http', 'ws')}${path}`, protocol, options);
  sockets.push(socket);
  const messages: Record<string, unknown>[] = [];
  // eslint-disable-next-line @typescript-eslint/no-base-to-string -- ws gives a Buffer
  socket.on('message', (data) => messages.push(JSON.parse(String(data)) as Record<string, unknown>));
  socket.on('error', () => {});
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  const refused = new Promise<IncomingMessage>((resolve) => {
    socket.once('unexpected-response', (_request, response) => resolve(response));
  });
  const opened = new Promise<void>((resolve) => {
    socket.once('open', resolve);
  });
  const say = (message: object | string) =>
    socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  return { socket, messages, closed, refused, opened, say };
}
const init = (key = herald.adminApiKey) => ({
  type: 'connection_init',
  payload: { authorization: `Bearer ${key}` },
});

describe('who gets in', () => {
  test.each([
    ['none', {}],
    ['an unknown key', { authorization: 'Bearer nothing' }],
    ['no bearer', { authorization: 'Basic abc' }],
    ['a token of somebody else', { authorization: 'Bearer eyJhbGciOiJub25lIn0.e30.' }],
  ])('a credential that is %s is closed with 4401', async (_, params) => {
    const one = open();
    await one.opened;
    one.say({ type: 'connection_init', payload: params });
    expect(await one.closed).toEqual({ code: 4401, reason: expect.stringContaining('no valid credential') });
    expect(one.messages).toEqual([]);
  });

  test('the header of the upgrade counts as well, and any spelling of it in the message', async () => {
    for (const [headers, payload] of [
      [{ authorization: `Bearer ${herald.adminApiKey}` }, undefined],
      [{ 'x-api-key': herald.adminApiKey }, undefined],
      [{}, { Authorization: `Bearer ${herald.adminApiKey}` }],
      [{}, { 'X-API-Key': herald.adminApiKey }],
    ] as const) {
      const one = open({ headers });
      await one.opened;
      one.say({ type: 'connection_init', payload });
      await until(() => one.messages[0]?.['type'] === 'connection_ack');
      expect(one.messages[0]).toMatchObject({ payload: { requestId: expect.any(String) } });
    }
  });

  test('a page of an origin that is not allowed gets no WebSocket; who is no browser needs none', async () => {
    const refused = await open({ origin: 'https://evil.example.com' }).refused;
    expect(refused.statusCode).toBe(403);
    expect((await open({ origin: 'null' }).refused).statusCode).toBe(403);
    for (const origin of ['https://app.example.com', herald.url, undefined])
      await open(origin === undefined ? {} : { origin }).opened;
  });

  test('another path has none, and another protocol ends at once', async () => {
    expect((await open({ path: '/elsewhere' }).refused).statusCode).toBe(404);
    // A client that speaks another protocol only gives up by itself, as nothing was agreed on.
    expect(await open({ protocol: 'graphql-ws' }).closed).toMatchObject({ code: 1006 });
    expect(await open({ protocol: [] }).closed).toMatchObject({ code: 4406 });
  });

  test('who says nothing is closed with 4408', async () => {
    const one = open();
    expect(await one.closed).toMatchObject({ code: 4408 });
  });

  test('a user service that is away keeps nobody out for good', async () => {
    const { key } = await newKey();
    await herald.stopPart('user');
    const one = open();
    await one.opened;
    one.say(init(key));
    expect(await one.closed).toEqual({ code: 1013, reason: expect.stringContaining('try again') });
    await herald.startPart('user');
  });
});

describe('how much', () => {
  test('a client has so many connections, and no more', async () => {
    const { key } = await newKey();
    const three = Array.from({ length: 3 }, () => open());
    for (const one of three) {
      await one.opened;
      one.say(init(key));
      await until(() => one.messages.length === 1);
    }
    const fourth = open();
    await fourth.opened;
    fourth.say(init(key));
    expect(await fourth.closed).toEqual({ code: 1013, reason: expect.stringContaining('more than 3 connections') });
    three[0]?.socket.close();
    await three[0]?.closed;
    const fifth = open();
    await fifth.opened;
    fifth.say(init(key));
    await until(() => fifth.messages.length === 1);
  });

  test('a gateway has so many connections, and no more', async () => {
    const all = Array.from({ length: 40 }, () => open());
    await Promise.all(all.map(({ opened }) => opened));
    const { statusCode, headers } = await open().refused;
    expect({ statusCode, retryAfter: headers['retry-after'] }).toEqual({ statusCode: 503, retryAfter: '5' });
  });

  test('a connection has so many subscriptions, and no more', async () => {
    const one = open();
    await one.opened;
    one.say(init());
    await until(() => one.messages.length === 1);
    const query = 'subscription { notificationStatusChanged { at } }';
    for (let id = 1; id <= 6; id += 1) one.say({ id: String(id), type: 'subscribe', payload: { query } });
    await until(() => one.messages.length === 2);
    expect(one.messages[1]).toMatchObject({
      id: '6',
      type: 'error',
      payload: [{ extensions: { code: 'RATE_LIMITED' } }],
    });
    one.say({ id: '1', type: 'complete' });
    one.say({ id: '7', type: 'subscribe', payload: { query } });
    await until(async () => (await gauge('herald_subscribers')) === 5);
    expect(one.messages).toHaveLength(2);
  });

  test.each([
    ['a message over 64 KiB', 'x'.repeat(64 * 1024 + 1), 1009],
    ['what is no JSON', '{', 4400],
    ['an unknown message', { type: 'nothing' }, 4400],
    ['a message that only a server sends', { type: 'next', id: '1', payload: {} }, 4400],
    ['a second init', init, 4429],
  ])('%s closes it', async (_, message, code) => {
    const one = open();
    await one.opened;
    one.say(init());
    await until(() => one.messages.length === 1);
    one.say(typeof message === 'function' ? message() : message);
    expect(await one.closed).toMatchObject({ code });
  });

  test('binary is not taken, nor a subscription before the init, nor one id twice', async () => {
    const binary = open();
    await binary.opened;
    binary.socket.send(Buffer.from('{}'), { binary: true });
    expect(await binary.closed).toMatchObject({ code: 1003 });
    const hasty = open();
    await hasty.opened;
    const subscribe = {
      id: '1',
      type: 'subscribe',
      payload: { query: 'subscription { notificationStatusChanged { at } }' },
    };
    hasty.say(subscribe);
    expect(await hasty.closed).toMatchObject({ code: 4401 });
    const twice = open();
    await twice.opened;
    twice.say(init());
    await until(() => twice.messages.length === 1);
    twice.say(subscribe);
    twice.say(subscribe);
    expect(await twice.closed).toEqual({ code: 4409, reason: 'Subscriber for 1 already exists' });
  });

  test('who asks without end and reads no answer is gone', async () => {
    const one = open();
    await one.opened;
    one.say(init());
    await until(() => one.messages.length === 1);
    one.socket.pause();
    const payload = { a: 'x'.repeat(60_000) };
    for (let count = 0; count < 2_000 && (await gauge('herald_subscription_sockets')) > 0; count += 20)
      for (let more = 0; more < 20; more += 1) one.say({ type: 'ping', payload });
    expect(await gauge('herald_subscription_sockets')).toBe(0);
  });

  test('who is refused and keeps the connection open loses it', async () => {
    const { hostname, port } = new URL(herald.url);
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    socket.write(
      'GET /elsewhere HTTP/1.1\r\nhost: herald\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
        'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(String(answer)).toMatch(/^HTTP\/1\.1 404 /);
    // Nobody listens there any more: what is sent now is answered with a reset.
    const writing = setInterval(() => socket.write('x'), 20);
    await closed;
    clearInterval(writing);
  });

  test('pings are answered', async () => {
    const one = open();
    await one.opened;
    one.say({ type: 'ping', payload: { a: 1 } });
    await until(() => one.messages.length === 1);
    expect(one.messages).toEqual([{ type: 'pong', payload: { a: 1 } }]);
  });
});

describe('how it ends', () => {
  test('with the token, by 4403', async () => {
    const email = `${randomUUID()}@example.com`;
    await givenUser(herald, { email, password: 'correct horse battery' });
    const login = createClient({ url: herald.url }).request(LogInDocument, {
      email,
      password: 'correct horse battery',
    });
    const watched = watch('', { credential: (await login).logIn.accessToken });
    const since = performance.now();
    expect(await watched.ended).toMatchObject({ code: 4403, reason: 'the token has run out' });
    expect(performance.now() - since).toBeLessThan(2_500);
  });

  test('when the key is revoked, within 5 s, by 4403', async () => {
    const { key, apiKey } = await newKey();
    const watched = watch(`(userId: "${user}")`, { credential: key });
    await until(async () => {
      await send(key);
      return watched.events.length > 0;
    });
    await herald.graphql(RevokeApiKeyDocument, { id: apiKey.id });
    const since = performance.now();
    expect(await watched.ended).toMatchObject({ code: 4403, reason: 'the key was revoked' });
    expect(performance.now() - since).toBeLessThan(5_000);
  }, 10_000);

  test('a reader that is too slow, by 4409 with the cursor to go on from; and it goes on', async () => {
    const one = open();
    await one.opened;
    one.say(init());
    await until(() => one.messages.length === 1);
    // Some 10 KiB for each event, so that the sockets' buffers are full soon.
    const fields = Array.from({ length: 45 }, (_, index) => `a${index}: requestId`).join(' ');
    const query = `subscription { notificationStatusChanged(userId: "${user}") { cursor notification { id ${fields} } } }`;
    one.say({ id: '1', type: 'subscribe', payload: { query } });
    await until(async () => (await gauge('herald_subscribers')) === 1);
    one.socket.pause();
    const requestId = 'r'.repeat(200);
    const ids: string[] = [];
    await until(
      async () => {
        const sends = Array.from({ length: 500 }, (_, index) =>
          sendBody(user, template, { request_id: `${requestId}-${ids.length}-${index}` }),
        );
        const { body } = await herald.rest('POST', '/api/v1/notifications/', sends);
        ids.push(...body.map(({ notification_id: id }: { notification_id: string }) => id));
        return /ended_total\{[^}]*slow[^}]*\} 1/.test(await (await fetch(`${herald.url}/metrics`)).text());
      },
      { timeoutMs: 60_000 },
    );
    one.socket.resume();
    const { code, reason } = await one.closed;
    expect({ code, reason }).toEqual({ code: 4409, reason: expect.stringMatching(/^slow [\w-]+$/) });
    const cursor = reason.split(' ')[1] ?? '';
    const read = one.messages.slice(1).map(({ payload }) => (payload as Event).data.notificationStatusChanged);
    expect(read.at(-1)?.cursor).toBe(cursor);
    const resumed = watch(`(userId: "${user}", after: "${cursor}")`);
    await until(() => read.length + resumed.events.length >= ids.length, { timeoutMs: 30_000 });
    const seen = [...read, ...resumed.events].map(({ notification }) => notification.id);
    expect(new Set(seen).size).toBe(seen.length);
    expect(new Set(seen)).toEqual(new Set(ids));
  }, 120_000);

  test('when the gateway stops: each is told by 1001, none is cut off', async () => {
    const gateway = await herald.addInstance('gateway');
    const clients = Array.from({ length: 10 }, () => watchAt({ ...herald, url: gateway.url }, ''));
    await until(() => clients.every(({ socket }) => socket()?.readyState === WebSocket.OPEN));
    await wait(100);
    await gateway.stop();
    for (const one of clients) expect(await one.ended).toMatchObject({ code: 1001 });
    const refused = await request(gateway.url).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'ECONNREFUSED' });
  });
});

type Event = { data: { notificationStatusChanged: { cursor: string; notification: { id: string } } } };
