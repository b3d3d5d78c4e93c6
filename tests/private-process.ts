import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

/**
 * Starts a program that can't outlive this process, however this process ends: a shell of the same process group waits
 * on a pipe that only this process holds, and kills the group when the pipe breaks. The program runs in a session of
 * its own, so Ctrl-C doesn't reach it before the tests have ended.
 * @param logFile where its output goes
 */
export function startProcess(
  command: string,
  args: string[],
  { env, logFile }: { env?: NodeJS.ProcessEnv; logFile: string },
): PrivateProcess {
  const log = openSync(logFile, 'a');
  const child = spawn('/bin/sh', ['-c', TIED_TO_PIPE, 'sh', command, ...args], {
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', log, log, 'pipe'],
  });
  closeSync(log);
  const { pid } = child;
  if (pid === undefined) throw new Error(`could not start ${command}`);
  const exited = once(child, 'exit');
  holdPipe(child);

  return {
    pid,
    running: () => child.exitCode === null && child.signalCode === null,
    async kill() {
      killGroup(pid);
      child.ref();
      await exited;
    },
  };
}

/**
 * A TCP port of 127.0.0.1 that nobody listens on. It is below those that the system gives to whoever asks for any (Linux: from 32768, macOS and
 * Windows: from 49152), or another test would have got it before it is used.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

const LOWEST = 20_000;
const HIGHEST = 32_000;

/** Lets this process end although the child still runs; its end breaks the pipe at file descriptor 3. */
export function holdPipe(child: ChildProcess): void {
  const pipe = child.stdio[3];
  pipe?.on('error', () => {});
  if (pipe && 'unref' in pipe && typeof pipe.unref === 'function') pipe.unref();
  child.unref();
}

export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** SIGSTOP, which returns while threads still run. Resolves when the last one stands still; where nobody tells that, after a while. */
export async function freezeProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  if (!existsSync('/proc/self/task')) return wait(200);
  const stateOf = async (thread: string) =>
    /\) (\S)/.exec(await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8').catch(() => ') T'))?.[1];
  for (;;) {
    const states = await Promise.all((await readdir(`/proc/${pid}/task`)).map(stateOf));
    if (states.every((state) => state === 'T')) return;
    await wait(5);
  }
}

/** `exec` keeps the pid; the subshell stays in the group and has the read end of the pipe. */
const TIED_TO_PIPE = '( read -r _ <&3; kill -KILL 0 ) & exec "$@" 3<&-';

export type PrivateProcess = {
  pid: number;
  running(): boolean;
  /** SIGKILL to the whole process group; resolves when it is gone. */
  kill(): Promise<void>;
};
