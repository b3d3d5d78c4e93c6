import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { withChannel } from './amqp.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startPrivateRedis, type PrivateRedis } from './services.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const PATIENT = { timeoutMs: 30_000 };
const CONCURRENCY = 5;

describe.skipIf(!hasServices || !inject('privateServices').redis)(
  'without Redis and the user service',
  { timeout: 90_000 },
  () => {
    let redis: PrivateRedis;
    let herald: Herald;
    beforeAll(async () => {
      redis = await startPrivateRedis();
      herald = await startHerald({
        redisUrl: redis.url,
        parts: ['user', 'template', 'notification', 'gateway'],
        concurrency: CONCURRENCY,
      });
    });
    afterAll(async () => {
      await herald?.stop();
      await redis?.stop();
    });

    const readQueue = () => withChannel(herald.amqpUrl, (channel) => channel.checkQueue(herald.names.queues.email));
    const readReady = () => herald.rest('GET', `${herald.urlOf('email')}/ready`);
    /** What the timelines hold, beyond that each was accepted. */
    const events = async () =>
      (await herald.sql('notification', `SELECT event FROM timeline WHERE event <> 'ACCEPTED'`)).map(
        ({ event }) => event,
      );

    test('jobs stay in the queue, one user is asked for again and again, and all goes out afterwards', async () => {
      const user = await givenUser(herald);
      const template = await givenTemplate(herald);
      const ids = await Promise.all(Array.from({ length: 20 }, () => givenSent(herald, user, template)));
      await until(async () => (await events()).length === ids.length);
      await redis.kill9();
      await herald.stopPart('user');
      const away = await startUseless(new URL(herald.urlOf('user')).port);
      await herald.startPart('email');

      await until(async () => (await readReady()).body.checks?.preferences?.state === 'down', PATIENT);
      const asked = away.asked();
      // What was given back is published again after 5 s, and stays.
      await until(async () => (await readQueue()).messageCount === ids.length, PATIENT);
      await until(() => away.asked() >= asked + 5, PATIENT);
      expect(await readQueue()).toMatchObject({ messageCount: ids.length, consumerCount: 0 });
      expect(away.atOnce()).toBe(1);
      expect((await events()).length).toBeLessThanOrEqual(ids.length + 2 * CONCURRENCY);
      expect(new Set(await events())).toEqual(new Set(['QUEUED']));

      await away.stop();
      await herald.startPart('user');
      await redis.restart();
      await herald.drained(PATIENT);
      const mailed = (await herald.mails()).map(({ MessageID }) => MessageID);
      expect(mailed.sort()).toEqual(ids.map((id) => `${id}@herald.example`).sort());
      const tries = 'SELECT DISTINCT status, attempts, failures FROM notification';
      expect(await herald.sql('notification', tries)).toEqual([{ status: 'delivered', attempts: 1, failures: 0 }]);
      await until(async () => (await readReady()).status === 200, PATIENT);
      expect((await readQueue()).consumerCount).toBe(1);
    });
  },
);

/** A service that is there and of no use. */
async function startUseless(port: string) {
  let asked = 0;
  let open = 0;
  let atOnce = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    open += 1;
    atOnce = Math.max(atOnce, open);
    response.once('close', () => (open -= 1));
    response.writeHead(503).end();
  });
  await once(server.listen(Number(port), '127.0.0.1'), 'listening');
  return {
    asked: () => asked,
    /** The most questions at a time. */
    atOnce: () => atOnce,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
