import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { type Account, asAccount, chooseAccount, handOver } from './postgres/account.ts';
import { type Binaries, locateBinaries, sendSignal } from './postgres/binaries.ts';
import { ensureDataFolder, SUPERUSER } from './postgres/data-folder.ts';
import { explainFailure, openServerLog } from './postgres/server-log.ts';
import { stopSurvivor } from './postgres/survivor.ts';

/** A running PostgreSQL. `adminUrl` is the superuser's on the database `postgres`; `stop` resolves once the process is gone. */
export type Postgres = { port: number; adminUrl: string; urlOf(database: string): string; stop(): Promise<void> };

type Options = {
  dataDir: string;
  port: number;
  password: string;
  log: (line: string) => void;
  signal?: AbortSignal;
  stopWithinMs?: () => number;
};
type Server = { child: ChildProcess; binaries: Binaries; exited: Promise<void>; howItEnded: () => string | undefined };

const START_DEADLINE_MS = 20_000;
const READY_POLL_MS = 10;
const STOP_MS = 10_000;

/**
 * Starts a real PostgreSQL on 127.0.0.1, on the data of its last run if there is one, and resolves when it answers.
 * One that outlived a killed run is stopped first. The server's own output goes to `postgres.log` beside the data folder.
 * @param port where it listens; not 0
 * @param password of the superuser `herald`; the first start sets it, later ones must give the same
 * @param signal gives up a start that is under way; a started server ends by `stop` only
 * @param stopWithinMs asked when a stop begins; when that is over it is killed, 10 s when left out
 * @throws Error with the log's last lines when it doesn't come up, or one line that says what to do
 */
export async function startPostgres({
  dataDir: givenDataDir,
  port,
  password,
  log,
  signal,
  stopWithinMs = () => STOP_MS,
}: Options): Promise<Postgres> {
  signal?.throwIfAborted();
  const dataDir = await realPath(givenDataDir);
  const binaries = await locateBinaries();
  await stopSurvivor(dataDir, binaries, log, signal);
  const account = await chooseAccount(dataDir, binaries);
  await ensureDataFolder({ dataDir, password, account, binaries, log, signal });
  await handOver(dataDir, account);

  const urlOf = (database: string) =>
    `postgresql://${SUPERUSER}:${encodeURIComponent(password)}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
  const adminUrl = urlOf('postgres');
  const serverLog = await openServerLog(join(dirname(dataDir), 'postgres.log'), account);
  const server = await spawnServer(dataDir, port, account, binaries, serverLog.file).finally(() =>
    serverLog.file.close(),
  );
  try {
    await untilReady(server, { dataDir, adminUrl, signal });
  } catch (error) {
    await stopServer(server, stopWithinMs());
    if (signal?.aborted) throw error;
    throw await explainFailure(error, port, serverLog);
  }

  let stopping: Promise<void> | undefined;
  void server.exited.then(() => {
    if (!stopping) log(`PostgreSQL ended unexpectedly (${server.howItEnded()}); see ${serverLog.path}`);
  });
  return { port, adminUrl, urlOf, stop: () => (stopping ??= stopServer(server, stopWithinMs())) };
}

/** Creates the database unless it exists. Safe to call from several processes at once. */
export async function ensureDatabase(postgres: Postgres, name: string): Promise<void> {
  await withClient(postgres.adminUrl, async (client) => {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]);
    if (rowCount) return;
    await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`).catch((error: unknown) => {
      if (!DATABASE_EXISTS.includes(codeOf(error))) throw error;
    });
  });
}

// duplicate_database, and the unique_violation that the loser of a race gets
const DATABASE_EXISTS = ['42P04', '23505'];

async function realPath(path: string): Promise<string> {
  await mkdir(dirname(resolve(path)), { recursive: true });
  return realpath(path).catch(async () => join(await realpath(dirname(resolve(path))), basename(path)));
}

async function spawnServer(
  dataDir: string,
  port: number,
  account: Account,
  binaries: Binaries,
  logFile: { fd: number },
): Promise<Server> {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '', // a socket's path may have 107 bytes only: TCP works from any checkout
    cluster_name: `herald-${process.pid}`, // tells survivors from servers whose process lives; see stopSurvivor
    max_connections: 200,
    shared_buffers: '128MB',
    random_page_cost: 1.1,
    jit: 'off', // compiling costs more than it gains on short statements
    autovacuum_naptime: '15s', // queue-like tables turn over fast
    log_checkpoints: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
  };
  const args = [
    '-D',
    dataDir,
    '-p',
    String(port),
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
  const { command, commandArgs, options } = asAccount(account, binaries.postgres, args);
  // Detached is a session of its own: a Ctrl-C in the terminal must reach us first, or work in flight loses its database
  const child = spawn(command, commandArgs, {
    ...options,
    detached: true,
    windowsHide: true,
    stdio: ['ignore', logFile.fd, logFile.fd],
  });
  let ending: string | undefined;
  const exited = new Promise<void>((resolveExited) => {
    const onEnd = (how: string) => {
      ending = how;
      resolveExited();
    };
    child.once('error', (error) => onEnd(error.message));
    child.once('exit', (code, signal) => onEnd(signal ? `signal ${signal}` : `exit code ${code}`));
  });
  return { child, binaries, exited, howItEnded: () => ending };
}

async function untilReady(
  server: Server,
  { dataDir, adminUrl, signal }: { dataDir: string; adminUrl: string; signal: AbortSignal | undefined },
) {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    signal?.throwIfAborted();
    if (server.howItEnded() !== undefined) throw new Error(`PostgreSQL did not start: ${server.howItEnded()}`);
    if (Date.now() > deadline) throw new Error(`PostgreSQL was not ready within ${START_DEADLINE_MS / 1000} s`);
    if ((await saysReady(dataDir, server.child.pid)) && (await answers(adminUrl))) return;
    await wait(READY_POLL_MS);
  }
}

/** Asks the pid file first: on a taken port, a connection would reach somebody else's server. */
async function saysReady(dataDir: string, pid: number | undefined): Promise<boolean> {
  const lines = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
}

async function answers(url: string): Promise<boolean> {
  try {
    await withClient(url, (client) => client.query('SELECT 1'));
    return true;
  } catch (error) {
    if (codeOf(error) === '28P01') throw error; // a wrong password does not get better
    return false;
  }
}

async function withClient<T>(connectionString: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  // ssl: false, or PGSSLMODE of the user's shell would apply
  const client = new pg.Client({ connectionString, ssl: false, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined); // a lost connection rejects the query as well
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end();
  }
}

async function stopServer({ child, binaries, exited, howItEnded }: Server, stopMs: number): Promise<void> {
  const steps = [
    { signal: 'SIGINT', withinMs: 0.6 * stopMs }, // ends connections, writes a checkpoint
    { signal: 'SIGQUIT', withinMs: 0.3 * stopMs }, // ends at once; the next start recovers
    { signal: 'SIGKILL', withinMs: 0 },
  ] as const;
  for (const { signal, withinMs } of steps) {
    if (howItEnded() !== undefined || child.pid === undefined) break;
    await sendSignal(binaries, child.pid, signal);
    const patience = new AbortController();
    await Promise.race([exited, wait(withinMs, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
  }
  await exited;
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '');
