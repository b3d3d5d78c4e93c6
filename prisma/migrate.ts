import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg';
import pg from 'pg';

export type DatabaseName = 'user' | 'template' | 'notification';

/**
 * Applies what is missing of `prisma/<name>/migrations/` to a database, in order, one caller at a time, and says again what workers may.
 * It is `prisma migrate deploy` without the engine binary, which the Prisma CLI downloads when it runs: the same engine,
 * compiled to WebAssembly, from npm. The bookkeeping (`_prisma_migrations`) is the same.
 * A script gets each lock within 3 s or begins anew, for behind one that waits everybody else waits too.
 * @param tell hears what it waits for
 * @returns the names of the migrations it applied
 */
export async function migrate(
  name: DatabaseName,
  databaseUrl: string,
  tell: (line: string) => void,
): Promise<string[]> {
  const lock = new pg.Client({ connectionString: databaseUrl });
  await lock.connect();
  try {
    await lock.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const applied = await applyMissing(name, databaseUrl, lock, tell);
    if (name === 'notification')
      await lock.query(await readFile(new URL('./notification/rights.sql', import.meta.url), 'utf8'));
    return applied;
  } finally {
    await lock.end();
  }
}

/** Any constant; two migrations of one database must not run side by side. */
const MIGRATION_LOCK = 7_201_125;
const LOCK_TIMEOUT = '3s';
const LOCK_TRIES = 20;
const LOCK_PAUSE_MS = 2_000;
const LOCK_NOT_AVAILABLE = '55P03';

async function applyMissing(
  name: DatabaseName,
  databaseUrl: string,
  connection: pg.Client,
  tell: (line: string) => void,
): Promise<string[]> {
  await instantiateEngine();
  const folder = new URL(`./${name}/`, import.meta.url);
  const schema: [string, string] = ['schema.prisma', await readFile(new URL('schema.prisma', folder), 'utf8')];
  const { factory, scriptErrors, disconnect } = wholeScripts(databaseUrl, async () =>
    tell(`waits for a lock, perhaps of ${await findOldest(connection)}`),
  );
  const schemaEngine = await engine.SchemaEngine.new(
    { datamodels: [schema] },
    () => {},
    bindMigrationAwareSqlAdapterFactory(factory),
  );
  try {
    const { appliedMigrationNames } = await schemaEngine.applyMigrations({
      migrationsList: await readMigrations(new URL('migrations/', folder)),
      filters: { externalTables: [], externalEnums: [] },
    });
    return appliedMigrationNames;
  } catch (error) {
    const [cause] = scriptErrors;
    if (cause === undefined) throw error;
    // The script was rolled back as a whole, so the next run may try it again.
    await connection.query('DELETE FROM _prisma_migrations WHERE finished_at IS NULL');
    const message = `a migration in prisma/${name}/migrations failed and was rolled back: ${cause.message}`;
    throw new Error(message, { cause: error });
  } finally {
    schemaEngine.free();
    await disconnect();
  }
}

/**
 * Prisma's adapter cuts a script at every semicolon, function bodies included. Sent whole, PostgreSQL reads it itself and
 * runs it as one transaction: a migration that fails leaves nothing behind, and one that got no lock can be run again.
 */
function wholeScripts(databaseUrl: string, onLocked: () => Promise<void>) {
  const factory = new PrismaPg({ connectionString: databaseUrl, max: 2 });
  const connect = factory.connect.bind(factory);
  // The engine reports an adapter's error by a number only.
  const scriptErrors: Error[] = [];
  // The engine leaves them open, and a pool that idles keeps its process alive for 10 s.
  const open: { dispose(): Promise<void> }[] = [];
  factory.connect = async () => {
    const connection = await connect();
    open.push(connection);
    connection.executeScript = async (script) => {
      const run = () => connection.underlyingDriver().query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'; ${script}`);
      await withLockRetries(run, onLocked).catch((error: Error) => {
        scriptErrors.push(error);
        throw error;
      });
    };
    return connection;
  };
  return {
    factory,
    scriptErrors,
    disconnect: () => Promise.all(open.splice(0).map((connection) => connection.dispose())),
  };
}

async function withLockRetries(run: () => Promise<unknown>, onLocked: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await run();
      return;
    } catch (error) {
      const isLocked = error instanceof Error && 'code' in error && error.code === LOCK_NOT_AVAILABLE;
      if (!isLocked || tries === LOCK_TRIES) throw error;
      await onLocked();
      await wait(LOCK_PAUSE_MS);
    }
  }
}

/** Who has a transaction open for the longest time: it is the likely holder of what others wait for. */
async function findOldest(connection: pg.Client): Promise<string> {
  const { rows } = await connection.query<{ who: string }>(
    `SELECT format('process %s (%s), %s s old: %s', pid, coalesce(nullif(application_name, ''), usename),
       extract(epoch FROM now() - xact_start)::integer, left(query, 80)) AS who
     FROM pg_stat_activity
     WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1`,
  );
  return rows[0]?.who ?? 'somebody who is done by now';
}

async function readMigrations(folder: URL) {
  const names = (await readdir(folder, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  const migrationDirectories = await Promise.all(
    names.sort().map(async (path) => ({
      path,
      migrationFile: {
        path: 'migration.sql',
        content: { tag: 'ok' as const, value: await readFile(new URL(`${path}/migration.sql`, folder), 'utf8') },
      },
    })),
  );
  return {
    baseDir: folder.pathname,
    lockfile: { path: 'migration_lock.toml', content: await readFile(new URL('migration_lock.toml', folder), 'utf8') },
    shadowDbInitScript: '',
    migrationDirectories,
  };
}

/** The package's own entry imports the .wasm file as a module, which Node does only behind a flag. */
let instantiated: Promise<void> | undefined;
const instantiateEngine = () =>
  (instantiated ??= (async () => {
    const glue = import.meta.resolve('@prisma/schema-engine-wasm/schema_engine_bg');
    const bytes = await readFile(new URL('./schema_engine_bg.wasm', glue));
    const { instance } = await WebAssembly.instantiate(bytes, { './schema_engine_bg.js': engine });
    engine.__wbg_set_wasm(instance.exports);
    instance.exports['__wbindgen_start']?.();
  })());

declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: object): Promise<{ instance: { exports: Record<string, () => void> } }>;
};
