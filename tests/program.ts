import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { holdPipe, killGroup } from './private-process.ts';
import { until } from './until.ts';

/** A program that runs as a user would run it: in a session of its own, as in a terminal, with its output kept. */
export type Program = {
  /** Also the id of its session and process group. */
  pid: number;
  /** What it wrote so far, stdout and stderr as they came. */
  output(): string;
  /** Resolves when the output has the text. @throws Error with the output when it ends first or takes too long */
  says(text: string | RegExp, options?: { timeoutMs?: number }): Promise<void>;
  /** To the whole process group, as the terminal does with Ctrl-C. */
  signal(signal: NodeJS.Signals): void;
  hasEnded(): boolean;
  /** How it ended, once all its output is read. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
};

/** Starts a program. It can't outlive this process: a shell waits for a pipe to break, and ends it then. */
export function startProgram(
  command: string,
  args: string[],
  options: { cwd: string; env: NodeJS.ProcessEnv; uid?: number | undefined; gid?: number | undefined },
): Program {
  const child = spawn(command, args, { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const { pid } = child;
  if (pid === undefined) throw new Error(`could not start ${command}`);
  const janitor = spawn('/bin/sh', ['-c', END_WHEN_ORPHANED, 'sh', String(pid)], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  holdPipe(janitor);

  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  let hasEnded = false;
  const ended = once(child, 'close').then(() => {
    hasEnded = true;
    if (janitor.pid !== undefined) killGroup(janitor.pid);
    return { code: child.exitCode, signal: child.signalCode };
  });

  return {
    pid,
    output: () => output,
    hasEnded: () => hasEnded,
    ended,
    signal: (signal) => void process.kill(-pid, signal),
    async says(text, { timeoutMs = 60_000 } = {}) {
      const isThere = () => (typeof text === 'string' ? output.includes(text) : text.test(output));
      await until(() => isThere() || hasEnded, { timeoutMs }).catch(() => {});
      if (!isThere()) throw new Error(`${command} did not say ${String(text)}, but:\n${output}`);
    },
  };
}

/** Lets the program stop by itself before it is killed: it may have started others in sessions of their own. */
const END_WHEN_ORPHANED = 'read -r _ <&3; kill -TERM -- "-$1"; sleep 10; kill -KILL -- "-$1"';

/** The living processes of a session or process group, and those that have the text in their command line (Linux). */
export async function findProcesses({ session, mention }: { session: number; mention: string }): Promise<string[]> {
  const ids = (await readdir('/proc')).map(Number).filter((id) => id > 0 && id !== process.pid);
  const found = await Promise.all(
    ids.map(async (id) => {
      const [stat, commandLine] = await Promise.all(
        ['stat', 'cmdline'].map((file) => readFile(`/proc/${id}/${file}`, 'utf8').catch(() => '')),
      );
      // "12 (name) S 1 12 12 …": state, parent, process group, session; the name may hold anything
      const [state, , group, itsSession] = (stat ?? '').slice((stat ?? '').lastIndexOf(')') + 2).split(' ');
      const isMeant = Number(group) === session || Number(itsSession) === session || commandLine?.includes(mention);
      return isMeant && state !== 'Z' ? [`${id} ${commandLine?.replaceAll('\0', ' ')}`] : [];
    }),
  );
  return found.flat();
}
