import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createHttpServer, listen } from '../platform/http.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';

const GRACE_MS = 2_000;
/** Far below the grace, and what Node would wait for a request's head (60 s) or an idle connection (65 s). */
const AT_ONCE_MS = 1_000;
/** More than the system buffers for a client that does not read. */
const LARGE = 16 * 1024 * 1024;

let app: FastifyInstance;
let port: number;
let work: PromiseWithResolvers<void>;
let inFlight: number;
const clients: Client[] = [];

beforeEach(async () => {
  work = Promise.withResolvers();
  inFlight = 0;
  app = createHttpServer(createTestLogger('server'), { closeGraceMs: GRACE_MS });
  app.post('/work', async () => {
    inFlight += 1;
    await work.promise;
    return { done: true };
  });
  app.get('/quick', async () => ({ done: true }));
  app.get('/large', async () => {
    inFlight += 1;
    return 'x'.repeat(LARGE);
  });
  port = await listen(app, '127.0.0.1', 0);
});
afterEach(async () => {
  work.resolve();
  for (const { socket } of clients.splice(0)) socket.destroy();
  await app.close();
});

test('a server closes though a client has connected and says nothing', async () => {
  const client = await open('');
  expect(await msToClose()).toBeLessThan(AT_ONCE_MS);
  await client.ended;
});

test('a server closes though a client has sent half of a head', async () => {
  const client = await open('POST /work HTTP/1.1\r\nhost: x\r\ncontent-');
  expect(await msToClose()).toBeLessThan(AT_ONCE_MS);
  await client.ended;
});

test('a server closes though an answered client keeps its connection', async () => {
  const client = await open('GET /quick HTTP/1.1\r\nhost: x\r\n\r\n');
  await until(() => client.received.includes('{"done":true}'));
  expect(await msToClose()).toBeLessThan(AT_ONCE_MS);
  await client.ended;
});

test('a request in flight is answered, its client told to go, and the server closed right after that', async () => {
  const client = await open(POST);
  await until(() => inFlight === 1);
  const closing = app.close();
  await until(() => !app.server.listening);
  work.resolve();
  const since = performance.now();
  await closing;
  expect(performance.now() - since).toBeLessThan(AT_ONCE_MS);
  await client.ended;
  expect(client.received).toMatch(/^HTTP\/1.1 200 [^]*\r\nconnection: close\r\n[^]*{"done":true}$/i);
});

test('a large answer on its way reaches its client whole', async () => {
  const client = await open('GET /large HTTP/1.1\r\nhost: x\r\n\r\n');
  client.socket.pause();
  await until(() => inFlight === 1);
  const closing = app.close();
  await until(() => !app.server.listening);
  client.socket.resume();
  await closing;
  await client.ended;
  expect(client.received.length).toBeGreaterThan(LARGE);
});

test('half a head on a connection that was answered holds up nothing', async () => {
  const client = await open('GET /quick HTTP/1.1\r\nhost: x\r\n\r\nGET /quick HTTP/1.1\r\nho');
  await until(() => client.received.includes('{"done":true}'));
  expect(await msToClose()).toBeLessThan(AT_ONCE_MS);
  await client.ended;
});

test('a body of which half is missing is cut off when the grace is over', async () => {
  const client = await open(POST.replace('content-length: 2', 'content-length: 10'));
  await once(app.server, 'request');
  const ms = await msToClose();
  expect(ms).toBeGreaterThanOrEqual(GRACE_MS - 20);
  expect(ms).toBeLessThan(GRACE_MS + AT_ONCE_MS);
  await client.ended;
});

test('a handler that never ends does not keep the server open', async () => {
  await open(POST);
  await until(() => inFlight === 1);
  expect(await msToClose()).toBeLessThan(GRACE_MS + AT_ONCE_MS);
});

const POST = 'POST /work HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';

async function msToClose(): Promise<number> {
  const since = performance.now();
  await app.close();
  return performance.now() - since;
}

/** Connects, and sends bytes that no HTTP client would. */
async function open(bytes: string): Promise<Client> {
  const accepted = once(app.server, 'connection');
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  socket.on('error', () => {});
  const client: Client = { socket, received: '', ended: new Promise((resolve) => socket.once('close', resolve)) };
  socket.on('data', (text: string) => (client.received += text));
  clients.push(client);
  await accepted;
  socket.write(bytes);
  return client;
}

type Client = { socket: Socket; received: string; ended: Promise<unknown> };
