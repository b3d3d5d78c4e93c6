import { randomInt, randomUUID } from 'node:crypto';
import pg from 'pg';
import { expect, inject, test } from 'vitest';
import type { StatusEvent } from '../contracts/events.ts';
import { ADMIN } from '../contracts/scopes.ts';
import { createCursors } from '../platform/feed-cursor.ts';
import { numberEvents } from '../subgraphs/notification/feed.ts';
import { applyChanges, changeOf, lockNotifications } from '../subgraphs/notification/outcomes.ts';
import { readFeed } from '../subgraphs/notification/read-feed.ts';
import { copyDatabases } from './databases.ts';

const TIMEOUT = { timeout: 60_000 };

test(
  'whatever writers, numberers and readers do at once, every reader sees each commit once, in order',
  TIMEOUT,
  async () => {
    const seed = Number(process.env['FEED_SEED'] ?? randomInt(2 ** 31));
    const databases = await copyDatabases(inject('postgresUrl'), inject('templateDatabases'));
    const pool = new pg.Pool({ connectionString: databases.urlOf('notification'), max: 18 });
    pool.on('error', () => {});
    try {
      const ids = Array.from({ length: 12 }, () => randomUUID());
      const now = Date.now().toString(16).padStart(12, '0');
      const notifications = ids.map((id) => `${now.slice(0, 8)}-${now.slice(8)}-7${id.slice(15)}`);
      await pool.query(
        `INSERT INTO notification (id, client_id, request_id, type, user_id, template_code, template_version, locale, priority,
         on_ambiguous, due_at, contact_version, version)
       SELECT id, 'client', id, 'email', gen_random_uuid(), 't', 1, 'en', 5, 'resend', now(), 1, 0 FROM unnest($1::uuid[]) AS id`,
        [notifications],
      );
      const random = createRandom(seed);
      let writing = true;
      let crashes = 0;
      let rolledBack = 0;

      const write = async () => {
        for (let turn = 0; turn < 20; turn += 1) {
          const chosen = notifications.filter(() => random() < 0.2);
          if (chosen.length === 0) continue;
          const client = await pool.connect();
          await client.query('BEGIN');
          const rows = [...(await lockNotifications(client, chosen)).values()];
          const retry = { status: 'pending', event: 'RETRY_SCHEDULED' } as const;
          await applyChanges(
            client,
            rows.map((row) => ({ ...changeOf(row), ...retry, delayMs: 0, usedUp: true })),
          );
          if (random() < 0.3) await client.query('SELECT pg_sleep($1)', [random() / 50]);
          const isLost = random() < 0.3;
          rolledBack += Number(isLost);
          await client.query(isLost ? 'ROLLBACK' : 'COMMIT');
          client.release();
        }
      };
      const isDone = async () => !writing && (await pool.query('SELECT FROM feed_in LIMIT 1')).rowCount === 0;
      const number = async () => {
        while (!(await isDone())) {
          if (random() > 0.3) await numberEvents(pool, 1 + Math.floor(random() * 7));
          else {
            // It dies after the numbers were given and before they were committed.
            const client = await pool.connect();
            client.on('error', () => {});
            await client.query('BEGIN');
            const { rowCount } = await client.query('SELECT number_events(5)');
            crashes += Number((rowCount ?? 0) > 0);
            await client.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {});
            client.release(true);
          }
        }
      };
      const cursors = createCursors('secret');
      const follow = async (epoch: string) => {
        const seen: StatusEvent[] = [];
        for (let after = cursors.toCursor({ epoch, seq: 0 }), last = false; ;) {
          const filter = { notificationId: null, userId: null, requestId: null };
          const page = await readFeed(pool, cursors, { after, filter, first: 1 + Math.floor(random() * 9) }, ADMIN);
          if (page.kind !== 'page') throw new Error(page.message);
          seen.push(...page.events);
          after = cursors.toCursor({ epoch, seq: page.endSeq });
          if (last && page.events.length === 0) return seen;
          last = await isDone();
        }
      };

      const { epoch } = (await pool.query('SELECT epoch FROM feed_state')).rows[0];
      const others = [...[1, 2, 3].map(number), ...[1, 2, 3].map(() => follow(epoch))];
      await Promise.all(Array.from({ length: 8 }, write)).finally(() => (writing = false));
      const [, , , ...seenByReaders] = await Promise.all(others);

      const versions = new Map(
        (await pool.query('SELECT id, version FROM notification')).rows.map((row) => [row.id, row.version]),
      );
      const committed = [...versions.values()].reduce((sum, version) => sum + version, 0);
      expect({ crashes: crashes > 0, rolledBack: rolledBack > 0, committed: committed > 100 }).toEqual({
        crashes: true,
        rolledBack: true,
        committed: true,
      });
      for (const seen of seenByReaders as StatusEvent[][]) {
        expect(
          seen.map(({ seq }) => seq),
          `seed ${seed}`,
        ).toEqual(Array.from({ length: committed }, (_, i) => i + 1));
        for (const id of notifications) {
          const ofOne = seen.filter((event) => event.notificationId === id).map(({ version }) => version);
          expect(ofOne, `seed ${seed}`).toEqual(Array.from({ length: versions.get(id) ?? 0 }, (_, i) => i + 1));
        }
      }
    } finally {
      await pool.end();
      await databases.drop();
    }
  },
);

/** mulberry32: small, seeded, good enough to choose by. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
