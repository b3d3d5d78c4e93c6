import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { withDeadline } from '../../platform/lifecycle.ts';
import { type Account, asAccount, handOver } from './account.ts';
import type { Binaries } from './binaries.ts';

export const SUPERUSER = 'herald';
const INITDB_END_MS = 3_000;

type Options = {
  dataDir: string;
  password: string;
  account: Account;
  binaries: Binaries;
  log: (line: string) => void;
  signal: AbortSignal | undefined;
};

/**
 * Creates PostgreSQL's data folder unless it exists. It is made beside its place and renamed at the end,
 * so a start that is killed midway leaves nothing half done.
 * @throws Error when the folder holds something else
 */
export async function ensureDataFolder({ dataDir, password, account, binaries, log, signal }: Options): Promise<void> {
  const entries = await readdir(dataDir).catch(() => undefined);
  if (entries?.includes('PG_VERSION')) return chmod(dataDir, 0o700);
  if (entries && entries.length > 0)
    throw new Error(`${dataDir} is not a PostgreSQL data folder and is not empty: name another folder.`);

  log(`creating the database in ${dataDir}`);
  const workshop = `${dataDir}.initializing`;
  await rm(workshop, { recursive: true, force: true });
  await mkdir(workshop, { mode: 0o700 });
  try {
    const newDataDir = join(workshop, 'data');
    const passwordFile = join(workshop, 'password');
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
    await handOver(workshop, account);
    await runInitdb(['-D', newDataDir, `--pwfile=${passwordFile}`], account, binaries, signal);
    if (entries) await rmdir(dataDir);
    await rename(newDataDir, dataDir);
  } finally {
    // Retries: an initdb that does not end may still be writing
    await rm(workshop, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function runInitdb(
  args: string[],
  account: Account,
  { initdb }: Binaries,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { command, commandArgs, options } = asAccount(account, initdb, [
    ...args,
    `--username=${SUPERUSER}`,
    '--auth-host=scram-sha-256',
    '--auth-local=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin', // sorts and folds UTF-8 alike on every system
    '--builtin-locale=C.UTF-8',
    '--no-sync',
    '--no-instructions',
  ]);
  const running = promisify(execFile)(command, commandArgs, {
    ...options,
    encoding: 'utf8',
    ...(signal && { signal }),
  });
  // Not events.once: that ends with the error that the signal causes.
  const isGone = new Promise((resolve) => running.child.once('close', resolve));
  await running.catch(async (cause: unknown) => {
    // When it is told to end it still removes what it made, and the next start works in the same place.
    await withDeadline(isGone, INITDB_END_MS, 'initdb does not end').catch(() => {});
    signal?.throwIfAborted();
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    throw new Error(
      `PostgreSQL could not create its data folder in ${dirname(args[1] ?? '')}: ${said || String(cause)}`,
      { cause },
    );
  });
}
