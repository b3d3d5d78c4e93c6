import { execFile } from 'node:child_process';
import { readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Binaries, sendSignal } from './binaries.ts';

const FAST_STOP_MS = 10_000;
const IMMEDIATE_STOP_MS = 10_000;
const PARENT_END_MS = 1_000;
const POLL_MS = 20;

/**
 * Stops the PostgreSQL that outlived a killed run on this data folder, whatever port it has.
 * @param signal gives up waiting for its end
 * @throws Error when its starter is alive: two may not share a data folder
 */
export async function stopSurvivor(
  dataDir: string,
  binaries: Binaries,
  log: (line: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const pidFile = join(dataDir, 'postmaster.pid');
  const pid = Number.parseInt(await readFile(pidFile, 'utf8').catch(() => ''), 10);
  if (!(pid > 0) || !isAlive(pid)) return; // PostgreSQL itself clears the file of a dead process
  if (!(await isPostgresOf(pid, dataDir))) {
    // The number belongs to another program now: PostgreSQL would take that for a server and refuse to start
    await rm(pidFile, { force: true });
    return;
  }

  // A parent that was killed a moment ago may still be on its way out
  if (!(await until(async () => !(await hasLivingStarter(pid)), PARENT_END_MS, signal))) {
    throw new Error(
      `The database in ${dataDir} is in use by another run (process ${(await processOf(pid))?.parentPid}): stop that one first.`,
    );
  }

  log(`stopping the PostgreSQL that an earlier run left behind (process ${pid})`);
  const isGone = async () => !(await isPostgresOf(pid, dataDir));
  await sendSignal(binaries, pid, 'SIGINT');
  if (await until(isGone, FAST_STOP_MS, signal)) return;
  await sendSignal(binaries, pid, 'SIGQUIT');
  if (await until(isGone, IMMEDIATE_STOP_MS, signal)) return;
  throw new Error(`The PostgreSQL of an earlier run does not stop: end process ${pid} by hand.`);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Process ids get reused, so the command line has to match; a zombie has none, so it counts as gone. */
async function isPostgresOf(pid: number, dataDir: string): Promise<boolean> {
  const commandLine = (await processOf(pid))?.commandLine ?? '';
  if (process.platform === 'win32') return commandLine.includes('postgres.exe');
  if (commandLine.includes(`postgres -D ${dataDir} `)) return true;
  // The checkout may have been moved under a running server; its working directory moves along
  return commandLine.includes('postgres -D ') && (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === dataDir;
}

/** Each server carries its starter's process id in cluster_name; once the starter dies, the system gives it another parent. */
async function hasLivingStarter(pid: number): Promise<boolean> {
  const found = await processOf(pid);
  const starterPid = /cluster_name=herald-(\d+)/.exec(found?.commandLine ?? '')?.[1];
  return starterPid !== undefined && Number(starterPid) === found?.parentPid;
}

async function processOf(pid: number): Promise<{ commandLine: string; parentPid: number | undefined } | undefined> {
  if (process.platform === 'linux') {
    const [commandLine, status] = await Promise.all([readText(`/proc/${pid}/cmdline`), readText(`/proc/${pid}/stat`)]);
    // "12 (name) S 1 …": the name may hold anything, brackets too
    const parentPid = status.slice(status.lastIndexOf(')') + 2).split(' ')[1];
    return { commandLine: commandLine.replaceAll('\0', ' '), parentPid: Number(parentPid) };
  }
  if (process.platform === 'win32') {
    const commandLine = await outputOf('tasklist', ['/FI', `PID eq ${pid}`, '/FO', 'CSV', '/NH']);
    return { commandLine, parentPid: undefined };
  }
  const line = await outputOf('ps', ['-ww', '-o', 'ppid=,command=', '-p', String(pid)]);
  const [, parentPid, commandLine] = /^\s*(\d+)\s+(.*?)\s*$/.exec(line) ?? [];
  return commandLine === undefined ? undefined : { commandLine: `${commandLine} `, parentPid: Number(parentPid) };
}

const readText = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

const outputOf = (command: string, args: string[]): Promise<string> =>
  promisify(execFile)(command, args).then(
    ({ stdout }) => stdout,
    () => '',
  );

async function until(
  isTrue: () => Promise<boolean>,
  withinMs: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (!(await isTrue())) {
    signal?.throwIfAborted();
    if (Date.now() > deadline) return false;
    await wait(POLL_MS);
  }
  return true;
}
