import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createClient } from '../client/client.ts';
import { GraphQLRequestError } from '../client/request-error.ts';
import { commands, type Context } from './commands.ts';
import { parseCommandLine, renderHelp, UsageError } from './command-line.ts';
import { readDoor } from './config.ts';

/** The `herald` command: see `herald --help`. */
const ROOT = fileURLToPath(new URL(import.meta.url.includes('/generated/') ? '../..' : '..', import.meta.url));

const EXIT = { done: 0, failed: 1, usage: 2, unreachable: 3, interrupted: 130 };

const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort());
process.once('SIGTERM', () => interrupted.abort());
// `herald tail | head` is over when head is.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

async function main(line: string[]): Promise<number> {
  if (line.length === 0 || ['help', '--help', '-h'].includes(line[0] ?? '')) {
    process.stdout.write(renderHelp(commands));
    return line.length === 0 ? EXIT.usage : EXIT.done;
  }
  try {
    const isHelp = line.includes('--help');
    const { command, given } = parseCommandLine(
      commands,
      line.filter((word) => word !== '--help'),
    );
    if (isHelp) {
      process.stdout.write(renderHelp(commands, command));
      return EXIT.done;
    }
    const door = readDoor({ root: ROOT, url: given.text('url'), key: given.text('key') });
    const code = await command.run(given, createContext(door, given.isOn('json')));
    return interrupted.signal.aborted ? EXIT.interrupted : code;
  } catch (error) {
    return tell(error);
  }
}

function createContext(door: { url: string; key: string | null }, isJson: boolean): Context {
  return {
    client: createClient({ url: door.url, ...(door.key !== null && { apiKey: door.key }) }),
    print: (value, text) => void process.stdout.write(`${isJson ? JSON.stringify(value) : text}\n`),
    note: (text) => void process.stderr.write(`${text}\n`),
    write: (text) => void process.stdout.write(text),
    runProgram,
    signal: interrupted.signal,
  };
}

/** In this terminal: the program stops as it wants, and its code is ours. */
function runProgram(path: string, args: string[]): Promise<number> {
  const program = `${ROOT}/${path}`;
  if (!existsSync(program)) {
    process.stderr.write(`herald: ${path} is not in ${ROOT}: run it from a checkout of Herald\n`);
    return Promise.resolve(EXIT.failed);
  }
  const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit' });
  // A signal may come to us alone; what a terminal sends comes to the child twice, and once is enough for it.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.removeAllListeners(signal);
    process.on(signal, () => child.kill(signal));
  }
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(tell(error)));
    child.once('close', (code) => resolve(code ?? EXIT.interrupted));
  });
}

/** Says what is wrong, for people. @returns the exit code */
function tell(error: unknown): number {
  const say = (text: string) => void process.stderr.write(`herald: ${text}\n`);
  if (error instanceof UsageError) {
    say(`${error.message}\nherald --help tells the commands`);
    return EXIT.usage;
  }
  if (error instanceof GraphQLRequestError) {
    const id = error.requestId === null ? '' : ` (request ${error.requestId})`;
    say(`${error.code}: ${error.message}${id}`);
    return EXIT.failed;
  }
  const reasons = causesOf(error);
  say(reasons.join(': '));
  return reasons.some((reason) => UNREACHABLE.test(reason)) ? EXIT.unreachable : EXIT.failed;
}

const UNREACHABLE =
  /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ECONNRESET|ETIMEDOUT|did not answer|can't be reached|fetch failed/;

function causesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [String(error)];
  const text = error.message || ('code' in error ? String(error.code) : error.name);
  return [text, ...(error.cause === undefined ? [] : causesOf(error.cause))];
}

process.exitCode = await main(process.argv.slice(2));
