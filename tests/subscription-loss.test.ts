import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { createClient } from '../client/client.ts';
import { WatchNotificationDocument, WatchUserDocument } from '../client/generated/operations.ts';
import { numberEvents } from '../subgraphs/notification/feed.ts';
import { createSeeded } from './faults/seeded.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { freePort } from './private-process.ts';
import { startProgram, type Program } from './program.ts';
import { startPrivateRabbitmq, type PrivateRabbitmq } from './services.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

/** From replay to live, whatever breaks meanwhile: what each subscriber saw is what the feed holds, in its order. */
describe.skipIf(!inject('privateServices').rabbitmq || inject('redisUrl') === null)(
  'subscribers under faults',
  { timeout: 180_000 },
  () => {
    let rabbitmq: PrivateRabbitmq;
    let herald: Herald;
    let program: Program;
    let programUrl: string;
    beforeEach(async () => {
      rabbitmq = await startPrivateRabbitmq();
      herald = await startHerald({
        amqpUrl: rabbitmq.url,
        parts: ['user', 'template', 'notification', 'gateway'],
      });
      programUrl = `http://127.0.0.1:${await freePort()}`;
      program = startGatewayProgram();
    }, 60_000);
    afterEach(async () => {
      program?.signal('SIGTERM');
      await program?.ended;
      await herald?.stop();
      await rabbitmq?.stop();
    });

    /** One that can be killed. */
    const startGatewayProgram = () =>
      startProgram('node', ['gateway/main.ts'], {
        cwd: join(import.meta.dirname, '..'),
        env: {
          PATH: process.env['PATH'],
          PORT: new URL(programUrl).port,
          AMQP_URL: rabbitmq.url,
          AMQP_PREFIX: herald.names.events.replace('notifications.events', ''),
          REDIS_URL: inject('redisUrl') ?? '',
          USER_URL: herald.urlOf('user'),
          TEMPLATE_URL: herald.urlOf('template'),
          NOTIFICATION_URL: herald.urlOf('notification'),
          USER_SECRET: herald.secrets.user,
          TEMPLATE_SECRET: herald.secrets.template,
          NOTIFICATION_SECRET: herald.secrets.notification,
          WORKER_API_KEY: herald.workerApiKey,
          ADMIN_API_KEY: herald.adminApiKey,
          JWT_KEYS: `loss:${randomBytes(24).toString('hex')}`,
        },
      });

    test.each(['first', 'second'])('none is missing and none comes twice, by the %s schedule', async (seed) => {
      const seeded = createSeeded(seed);
      const user = await givenUser(herald);
      const template = await givenTemplate(herald);
      const other = await herald.addInstance('gateway');
      await program.says('the gateway is up');
      const urls = [herald.url, other.url, programUrl] as const;
      const pickClient = () => createClient({ url: seeded.pick(urls), apiKey: herald.adminApiKey });
      const ended = new AbortController();
      const options = { signal: ended.signal, backOff: { baseMs: 20, capMs: 300 } };
      const readings: Promise<void>[] = [];
      let isOver = false;

      // Some watch one notification from its beginning, and are cut off as soon as they know its state.
      const seenOf = new Map<string, string[]>();
      const watchOne = async (notificationId: string) => {
        const seen: string[] = [];
        seenOf.set(notificationId, seen);
        const read = async (after: string | null) => {
          const events = pickClient().subscribe(WatchNotificationDocument, { notificationId, after }, options);
          for await (const { notificationStatusChanged: event } of events) {
            seen.push(event.status.toLowerCase());
            if (after === null) return event.cursor;
          }
          return null;
        };
        const cursor = await read(null);
        if (cursor !== null) await read(cursor);
      };

      // Three that send and then report, with moments in between.
      const pool = {
        query: (asked: { text: string; values: unknown[] }) =>
          herald.sql('notification', asked.text, asked.values).then((rows) => ({ rows })),
      };
      const writers = Array.from({ length: 3 }, async () => {
        while (!isOver) {
          await wait(seeded.between(0, 40));
          const { body } = await herald
            .rest('POST', '/api/v1/notifications/', sendBody(user, template), {})
            .catch(() => ({ body: {} }));
          if (body.notification_id === undefined) continue;
          if (seeded.next() < 0.2) readings.push(watchOne(body.notification_id));
          await wait(seeded.between(0, 20));
          const report = { notification_id: body.notification_id, status: seeded.pick(['delivered', 'failed']) };
          await herald.rest('POST', '/api/v1/email/status/', report).catch(() => {});
        }
      });
      // One that numbers and goes before it publishes, again and again.
      const numberer = (async () => {
        while (!isOver) {
          await wait(seeded.between(0, 60));
          await numberEvents(pool as never, 1 + Math.floor(seeded.next() * 3));
        }
      })();
      // Some from the beginning, some that come later from where another was; on all gateways.
      const readers: { cursors: string[]; from: string | null }[] = [];
      const read = (from: string | null) => {
        const reader = { cursors: [] as string[], from };
        readers.push(reader);
        const asked = { userId: user, ...(from !== null && { after: from }) };
        const events = pickClient().subscribe(WatchUserDocument, asked, options);
        readings.push(
          (async () => {
            for await (const { notificationStatusChanged: event } of events) reader.cursors.push(event.cursor);
          })(),
        );
      };
      read(null);
      read(null);
      await until(() => readers.every(({ cursors }) => cursors.length > 3));

      const faults: (() => Promise<unknown>)[] = [
        async () => {
          await herald.stopPart('gateway');
          await herald.startPart('gateway');
        },
        async () => {
          program.signal('SIGKILL');
          await program.ended;
          program = startGatewayProgram();
          await program.says('the gateway is up');
        },
        async () => {
          await rabbitmq.kill9();
          await wait(300);
          await rabbitmq.restart();
        },
        async () => {
          await rabbitmq.ctl('stop_app');
          await rabbitmq.ctl('reset');
          await rabbitmq.ctl('start_app');
        },
        async () => {
          await herald.stopPart('notification');
          await wait(200);
          await herald.startPart('notification');
        },
      ];
      const order = faults.toSorted(() => seeded.next() - 0.5);
      for (const fault of order) {
        const known = readers[0]?.cursors ?? [];
        read(seeded.pick([known[0] ?? null, known.at(-1) ?? null]));
        await wait(seeded.between(200, 800));
        await fault();
      }
      await wait(500);
      isOver = true;
      await Promise.all([...writers, numberer]);
      await until(async () => (await herald.sql('notification', 'SELECT FROM feed_in')).length === 0, {
        timeoutMs: 20_000,
      });
      const [{ count } = {}] = await herald.sql('notification', 'SELECT count(*)::integer AS count FROM feed');
      const seqOf = (cursor: string) => Number(Buffer.from(cursor, 'base64url').readBigUInt64BE(16));
      expect(Number(count)).toBeGreaterThan(50);
      await until(() => readers.every(({ cursors }) => seqOf(cursors.at(-1) ?? '') === Number(count)), {
        timeoutMs: 30_000,
      }).catch(() => {});
      const told = new Map<string, string[]>();
      for (const { id, statuses } of await herald.sql(
        'notification',
        'SELECT notification_id AS id, array_agg(status ORDER BY seq) AS statuses FROM feed GROUP BY 1',
      ))
        told.set(String(id), statuses as string[]);
      await until(() => [...seenOf].every(([id, seen]) => seen.at(-1) === told.get(id)?.at(-1)), {
        timeoutMs: 30_000,
      }).catch(() => {});
      ended.abort();
      await Promise.all(readings);

      expect(seenOf.size).toBeGreaterThan(5);
      for (const [id, seen] of seenOf) {
        // The state it was in, and what came then.
        expect(seen.length, id).toBeGreaterThan(0);
        expect(seen, id).toEqual(told.get(id)?.slice(-seen.length));
      }

      for (const { cursors, from } of readers) {
        const seen = cursors.map(seqOf);
        const first = from === null ? (seen[0] ?? 0) : seqOf(from) + 1;
        expect(seen).toEqual(Array.from({ length: Number(count) - first + 1 }, (_, index) => first + index));
      }
      console.log(
        `${seed}: ${String(count)} events, ${readers.length} readers and ${seenOf.size} of one notification, ${readers.reduce((sum, { cursors }) => sum + cursors.length, 0)} seen, 0 missing, 0 repeated`,
      );
    });
  },
);
