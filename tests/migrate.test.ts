import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../embedded/postgres.ts';
import { makeFolder } from './private-folder.ts';
import { freePort } from './private-process.ts';

/** `npm run db:migrate`, on a cluster of its own: roles belong to all databases of one. */

const MIGRATE = join(import.meta.dirname, '../cli/migrate.ts');
const DATABASE = 'notifications_db';

let folder: Awaited<ReturnType<typeof makeFolder>>;
let postgres: Postgres;
beforeAll(async () => {
  folder = await makeFolder('migrate');
  const port = await freePort();
  postgres = await startPostgres({ dataDir: join(folder.path, 'data'), port, password: 'secret', log: () => {} });
  await migrate();
});
afterAll(async () => {
  await postgres?.stop();
  await folder?.remove();
});

const workerUrl = () => postgres.urlOf(DATABASE).replace(/\/\/[^@]*@/, '//mailer:of-the-workers@');
const migrate = async (...args: string[]) => {
  const env = {
    PATH: process.env.PATH,
    USERS_DATABASE_URL: postgres.urlOf('users_db'),
    TEMPLATES_DATABASE_URL: postgres.urlOf('templates_db'),
    NOTIFICATIONS_DATABASE_URL: postgres.urlOf(DATABASE),
    WORKER_DATABASE_URL: workerUrl(),
  };
  return (await promisify(execFile)(process.execPath, [MIGRATE, ...args], { env })).stdout;
};
async function query(text: string, url = postgres.urlOf(DATABASE)) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

describe('a database from a backup', () => {
  const epoch = async () => (await query('SELECT check_feed_epoch() AS epoch'))[0].epoch as string;
  /** Of what is done to it: whether cursors of before expire, once. */
  const isNewEpochAfter = async (work: () => Promise<unknown>) => {
    const before = await epoch();
    await work();
    const after = await epoch();
    expect(await epoch()).toBe(after);
    return after !== before;
  };

  test('is a new epoch where it was made anew in the same cluster, as by dropdb, createdb and pg_restore', async () => {
    const restored = async () => {
      const admin = postgres.adminUrl;
      await query(`CREATE DATABASE saved TEMPLATE ${DATABASE}`, admin);
      await query(`DROP DATABASE ${DATABASE}`, admin);
      await query(`ALTER DATABASE saved RENAME TO ${DATABASE}`, admin);
    };
    expect(await isNewEpochAfter(restored)).toBe(true);
  });

  test('is a new epoch where its tables were made anew, as by pg_restore --clean', async () => {
    const restored = () =>
      query(`CREATE TABLE saved (LIKE feed_state INCLUDING ALL); INSERT INTO saved TABLE feed_state;
        DROP TABLE feed_state; ALTER TABLE saved RENAME TO feed_state`);
    expect(await isNewEpochAfter(restored)).toBe(true);
  });

  test('is a new epoch when --restored says so, as for a copy of the disk', async () => {
    expect(await isNewEpochAfter(() => migrate('--restored'))).toBe(true);
  });

  test('is none where nothing was restored: after a migration, and after an upgrade', async () => {
    expect(await isNewEpochAfter(() => migrate())).toBe(false);
    // So 0.1.0 told where it was.
    const upgraded = () =>
      query(`UPDATE feed_state SET origin = (SELECT system_identifier FROM pg_control_system()) || ':' ||
        (SELECT timeline_id FROM pg_control_checkpoint())`);
    expect(await isNewEpochAfter(upgraded)).toBe(false);
  });

  test('has its workers back after a migration, though a dump brings no roles', async () => {
    const note = () => query(`SELECT note_provider('w', 'email', 'smtp', 'closed', NULL)`, workerUrl());
    await note();
    await query('DROP OWNED BY herald_worker; DROP ROLE herald_worker; DROP ROLE mailer');
    await expect(note()).rejects.toThrow(/authentication failed/);
    await migrate();
    await note();
    await expect(query('SELECT FROM content', workerUrl())).rejects.toThrow(/permission denied/);
    await expect(query('SELECT check_feed_epoch()', workerUrl())).rejects.toThrow(/permission denied/);
  });
});
