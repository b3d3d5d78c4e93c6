import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type Postgres } from '../embedded/postgres.ts';
import { makeFolder } from './private-folder.ts';
import { freePort } from './private-process.ts';
import { startProgram } from './program.ts';
import { until } from './until.ts';

/** `npm run db:migrate`, on a cluster of its own: roles belong to all databases of one. */

const MIGRATE = join(import.meta.dirname, '../cli/migrate.ts');
const DATABASE = 'notifications_db';

let start: () => Promise<Postgres>;
let folder: Awaited<ReturnType<typeof makeFolder>>;
let postgres: Postgres;
beforeAll(async () => {
  folder = await makeFolder('migrate');
  const port = await freePort();
  start = () => startPostgres({ dataDir: join(folder.path, 'data'), port, password: 'secret', log: () => {} });
  postgres = await start();
  await migrate();
});
afterAll(async () => {
  await postgres?.stop();
  await folder?.remove();
});

const workerUrl = () => postgres.urlOf(DATABASE).replace(/\/\/[^@]*@/, '//mailer:of-the-workers@');
const environment = () => ({
  PATH: process.env.PATH,
  USERS_DATABASE_URL: postgres.urlOf('users_db'),
  TEMPLATES_DATABASE_URL: postgres.urlOf('templates_db'),
  NOTIFICATIONS_DATABASE_URL: postgres.urlOf(DATABASE),
  WORKER_DATABASE_URL: workerUrl(),
});
const migrate = async (...args: string[]) =>
  (await promisify(execFile)(process.execPath, [MIGRATE, ...args], { env: environment() })).stdout;
const startMigration = () =>
  startProgram(process.execPath, [MIGRATE], { cwd: import.meta.dirname, env: environment() });
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

describe('a migration', () => {
  test('waits for a server that is still starting, and says for which', async () => {
    await postgres.stop();
    const program = startMigration();
    await program.says(/^user: waits up to 30 s for PostgreSQL at 127\.0\.0\.1:\d+: .*ECONNREFUSED/);
    postgres = await start();
    expect(await program.ended, program.output()).toEqual({ code: 0, signal: null });
    expect(program.output()).toMatch(/notification: up to date/);
  });

  test('that gets no lock steps back, so that nobody waits behind it, and comes again', async () => {
    await query(`ALTER TABLE content DROP COLUMN trace`);
    await query(`DELETE FROM _prisma_migrations WHERE migration_name NOT LIKE '%_init'`);
    const dump = new pg.Client({ connectionString: postgres.urlOf(DATABASE), application_name: 'pg_dump' });
    await dump.connect();
    await dump.query('BEGIN; LOCK TABLE content IN ACCESS SHARE MODE');
    const program = startMigration();
    // A reader who comes behind the migration: it waits as long as that, and not as long as the dump.
    await until(
      async () =>
        (
          await query(
            `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%ALTER TABLE content%'`,
          )
        ).length > 0,
    );
    await query('SELECT count(*) FROM content');
    await program.says(/^notification: waits for a lock, perhaps of process \d+ \(pg_dump\), \d+ s old: BEGIN; LOCK/m);
    await dump.query('COMMIT');
    await dump.end();
    expect(await program.ended, program.output()).toEqual({ code: 0, signal: null });
    expect(program.output()).toMatch(/^notification: applied .*_trace/m);
    await query('SELECT trace FROM content');
  });
});
