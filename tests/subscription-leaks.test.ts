import { randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSeeded } from './faults/seeded.ts';
import { givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const CYCLES = 10_000;
const AT_ONCE = 50;

let herald: Herald;
let user: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  user = await givenUser(herald);
});
// Fails when a timer or a socket is left.
afterAll(() => herald?.stop());

const gauge = async (name: string) => {
  const text = await (await fetch(`${herald.url}/metrics`)).text();
  return Number(new RegExp(`^${name}\\S* (\\d+)`, 'm').exec(text)?.[1]);
};

/** Connects, and leaves at a moment and in a manner of its own. */
function comeAndGo(next: () => number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = new WebSocket(`${herald.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const say = (message: object) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
  const leave = () => {
    const how = next();
    if (how < 0.4) socket.terminate();
    else if (how < 0.8) socket.close(1000);
    else {
      say({ id: '1', type: 'complete' });
      socket.close(1000);
    }
  };
  const query = `subscription ($id: String, $user: ID) { notificationStatusChanged(requestId: $id, userId: $user) { cursor } }`;
  const variables = next() < 0.5 ? { id: randomUUID() } : { user };
  socket.on('error', () => {});
  socket.on('close', () => resolve());
  socket.on('open', () => {
    if (next() < 0.1) return leave();
    say({ type: 'connection_init', payload: { authorization: `Bearer ${herald.adminApiKey}` } });
    // Sometimes while it is still being asked who this is, or where the feed is.
    if (next() < 0.2) return setImmediate(leave);
    return undefined;
  });
  socket.on('message', () => {
    say({ id: '1', type: 'subscribe', payload: { query, variables } });
    if (next() < 0.5) setImmediate(leave);
    else setTimeout(leave, next() * 10);
  });
  return promise;
}

test(`after ${CYCLES} connections that came and went nothing of them is left`, async () => {
  const { next } = createSeeded('come and go');
  let left = CYCLES;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left > 0) {
        left -= 1;
        await comeAndGo(next);
      }
    }),
  );
  for (const name of ['herald_subscription_sockets', 'herald_subscribers', 'herald_subscription_selections'])
    await until(async () => (await gauge(name)) === 0, { timeoutMs: 10_000 });
  // Those were real: most of them got as far as to follow the feed.
  expect(await gauge('herald_subscriptions_ended_total')).toBeGreaterThan(CYCLES / 3);
}, 300_000);
