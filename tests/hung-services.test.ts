import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { createEmbeddedCache } from '../platform/cache/embedded.ts';
import { createServiceClient } from '../platform/service-client.ts';
import { createPreferencesReader } from '../workers/preferences.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { freePort } from './private-process.ts';
import { startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';

/** What a service has to answer, and a little; nobody waits for another one's turn. */
const TIMEOUT_MS = 2_000;
const ENOUGH_MS = TIMEOUT_MS + 600;

let hung: { server: Server; asked: number; sockets: Set<Socket> } | undefined;
let herald: Herald | undefined;
afterEach(async () => {
  for (const socket of hung?.sockets ?? []) socket.destroy();
  hung?.server.close();
  await herald?.stop();
});

test('each of two sends is refused in time while the user service hangs', async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
  const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
  await herald.stopPart('user');
  const service = await hang(Number(new URL(herald.urlOf('user')).port));
  const send = () => herald?.rest('POST', '/api/v1/notifications/', sendBody(user, template));
  const first = send();
  await until(() => service.asked === 1);
  const since = performance.now();
  expect(await send()).toMatchObject({ status: 503, headers: { 'retry-after': expect.stringMatching(/^\d+$/) } });
  expect(performance.now() - since).toBeLessThan(ENOUGH_MS);
  expect(await first).toMatchObject({ status: 503 });
});

test('a worker that asks for two users at different moments gives up on each in time', async () => {
  const port = await freePort();
  const service = await hang(port);
  const log = createTestLogger('email-worker');
  const url = `http://127.0.0.1:${port}`;
  const users = createServiceClient({
    url,
    callee: 'user',
    caller: 'email-worker',
    secret: 'secret',
    timeoutMs: TIMEOUT_MS,
  });
  const preferences = createPreferencesReader({ cache: createEmbeddedCache(), prefix: '', users, log });
  const first = preferences.read('ada');
  await until(() => service.asked === 1);
  const since = performance.now();
  expect(await preferences.read('grace')).toEqual({ kind: 'unknowable' });
  expect(performance.now() - since).toBeLessThan(ENOUGH_MS);
  expect(await first).toEqual({ kind: 'unknowable' });
  await users.stop();
});

/** Takes every connection and answers nothing. */
async function hang(port: number) {
  const state = { server: createServer(), asked: 0, sockets: new Set<Socket>() };
  state.server.on('connection', (socket) => {
    state.sockets.add(socket);
    socket.on('error', () => {}).once('data', () => (state.asked += 1));
  });
  await once(state.server.listen(port, '127.0.0.1'), 'listening');
  hung = state;
  return state;
}
