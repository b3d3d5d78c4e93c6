import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import type { DatabaseName } from '../prisma/migrate.ts';
import { until } from './until.ts';

const NAMES: readonly DatabaseName[] = ['user', 'template', 'notification'];

/** The names of three migrated databases, to be copied. */
export type TemplateDatabases = Record<DatabaseName, string>;

/** A story's three databases. `worker` is notifications_db again, with the rights of a worker. */
export type Databases = {
  urlOf(name: DatabaseName | 'worker'): string;
  sql(name: DatabaseName | 'worker', text: string, values?: unknown[]): Promise<Row[]>;
  /** Fails when a connection to one of them was left open. */
  drop(): Promise<void>;
};

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a row is what the expectation makes of it
export type Row = Record<string, any>;

/** Migrating takes a second, copying a moment: so it is done once for a whole test run, as `npm run db:migrate` does it. */
export async function makeTemplateDatabases(adminUrl: string): Promise<TemplateDatabases> {
  await withAdmin(adminUrl, async (admin) => {
    for (const name of NAMES) await admin.query(`CREATE DATABASE ${templateOf(name)}`);
  });
  await promisify(execFile)(process.execPath, [fileURLToPath(new URL('../cli/migrate.ts', import.meta.url))], {
    env: {
      ...process.env,
      USERS_DATABASE_URL: at(adminUrl, templateOf('user')),
      TEMPLATES_DATABASE_URL: at(adminUrl, templateOf('template')),
      NOTIFICATIONS_DATABASE_URL: at(adminUrl, templateOf('notification')),
    },
  });
  return { user: templateOf('user'), template: templateOf('template'), notification: templateOf('notification') };
}

/** Makes three databases of a story's own. */
export async function copyDatabases(adminUrl: string, templates: TemplateDatabases): Promise<Databases> {
  const suffix = randomUUID().replaceAll('-', '');
  const nameOf = (name: DatabaseName) => `story_${name}_${suffix}`;
  const urlOf = (name: DatabaseName | 'worker') =>
    name === 'worker'
      ? `${at(adminUrl, nameOf('notification'))}?options=-c%20role%3Dherald_worker`
      : at(adminUrl, nameOf(name));
  const pools = new Map<string, pg.Pool>();

  await withAdmin(adminUrl, async (admin) => {
    for (const name of NAMES) await admin.query(`CREATE DATABASE ${nameOf(name)} TEMPLATE ${templates[name]}`);
  });
  return {
    urlOf,
    async sql(name, text, values) {
      const pool = pools.get(name) ?? new pg.Pool({ connectionString: urlOf(name), max: 2 });
      pools.set(name, pool);
      return (await pool.query<Row>(text, values)).rows;
    },
    async drop() {
      await Promise.all([...pools.values()].map((pool) => pool.end()));
      await withAdmin(adminUrl, async (admin) => {
        // Not WITH (FORCE): a connection that outlives its owner shall show. PostgreSQL ends them a moment after the client.
        for (const name of NAMES) {
          await until(() => admin.query(`DROP DATABASE IF EXISTS ${nameOf(name)}`));
        }
      });
    },
  };
}

const templateOf = (name: DatabaseName) => `migrated_${name}`;

function at(adminUrl: string, database: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  return url.href;
}

async function withAdmin(adminUrl: string, work: (admin: pg.Client) => Promise<void>): Promise<void> {
  const admin = new pg.Client({ connectionString: adminUrl });
  await admin.connect();
  try {
    await work(admin);
  } finally {
    await admin.end();
  }
}
