import { ConfigError } from './env.ts';
import { toReason } from './log-on-change.ts';

/**
 * What every `start…` function gives back. `stop` takes no more work, finishes what is in flight, closes in reverse order;
 * `stopping` names what it waits for meanwhile, from the outside in: "the email worker: the consumer".
 */
export type Running = { stop(): Promise<void>; stopping?(): string[] };

/** Longer than a worker's slowest send, so that its outcome is still recorded. */
export const STOP_DEADLINE_MS = 30_000;

/**
 * The whole of a `main.ts`: read the configuration, start, wait for SIGINT, SIGTERM or SIGHUP, stop.
 * Exits 1 with one line per fault when the configuration or the start fails, or when stopping takes over 30 s.
 */
export async function runProcess<Config>(
  readConfig: () => Config,
  start: (config: Config) => Promise<Running>,
): Promise<void> {
  try {
    const running = await start(readConfig());
    await signalled();
    await stopWithin(running, STOP_DEADLINE_MS, 'ended with work in flight; it is resumed at the next start');
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${renderFatal(error)}\n`);
    process.exit(1);
  }
}

/**
 * Resolves at the first SIGINT, SIGTERM or SIGHUP (the terminal was closed). Later ones are ignored: npm passes a Ctrl-C on that the terminal sent already, and
 * stopping has a deadline of its own.
 */
export const signalled = (): Promise<NodeJS.Signals> =>
  new Promise((resolve) => {
    process.on('SIGINT', resolve);
    process.on('SIGTERM', resolve);
    process.on('SIGHUP', resolve);
  });

/** Rejects with `message` when the work takes longer. */
export async function withDeadline<T>(
  work: Promise<T>,
  deadlineMs: number,
  message: string | (() => string),
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(typeof message === 'string' ? message : message())), deadlineMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/**
 * Gives up waiting, though not the work, when the signal comes.
 * @param instead what it comes to then
 * @throws the signal's reason when there is nothing else to come to
 */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined, instead?: () => T): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = () => (instead === undefined ? reject(signal.reason as Error) : resolve(instead()));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Stops it; rejects when that takes longer, naming what was still stopping. @param consequence the end of that message */
export const stopWithin = (running: Running, deadlineMs: number, consequence: string): Promise<void> =>
  withDeadline(running.stop(), deadlineMs, () => {
    const names = running.stopping?.().join(', ') ?? 'all of it';
    return `still stopping after ${(deadlineMs / 1_000).toFixed(1)} s: ${names}; ${consequence}`;
  });

/** Collects what was started, so that a failed start or a stop closes it in reverse order, or all of it `together`. */
export class Started implements Running {
  readonly #parts: Part[] = [];
  readonly #stopping = new Set<Part>();
  readonly #order: 'reverse' | 'together';

  constructor(order: 'reverse' | 'together' = 'reverse') {
    this.#order = order;
  }

  add<T extends Running>(name: string, running: T): T {
    this.#parts.push({ name, stop: () => running.stop(), stopping: () => running.stopping?.() ?? [] });
    return running;
  }

  /** Registers anything that must be closed. */
  onStop(name: string, stop: () => Promise<void> | void): void {
    this.#parts.push({ name, stop: async () => stop(), stopping: () => [] });
  }

  stopping(): string[] {
    return [...this.#stopping].flatMap(({ name, stopping }) => {
      const inside = stopping();
      return inside.length === 0 ? [name] : inside.map((part) => `${name}: ${part}`);
    });
  }

  async stop(): Promise<void> {
    const errors: Error[] = [];
    const stopOne = async (part: Part) => {
      this.#stopping.add(part);
      await part.stop().catch((cause: unknown) => {
        errors.push(new Error(`could not stop ${part.name}: ${toReason(cause)}`, { cause }));
      });
      this.#stopping.delete(part);
    };
    const parts = this.#parts.splice(0).reverse();
    if (this.#order === 'together') await Promise.all(parts.map(stopOne));
    else for (const part of parts) await stopOne(part);
    if (errors.length > 0) throw new AggregateError(errors, errors.map((error) => error.message).join('; '));
  }
}

type Part = Required<Running> & { name: string };

/**
 * Runs a start function with a collector; what was already started is stopped when it fails.
 * @throws what the start threw; when stopping fails as well, an AggregateError of both, that one first
 */
export async function startAll<T>(start: (started: Started) => Promise<T>): Promise<T & Required<Running>> {
  const started = new Started();
  try {
    return { ...(await start(started)), stop: () => started.stop(), stopping: () => started.stopping() };
  } catch (error) {
    await started.stop().catch((cleanUp: unknown) => {
      throw new AggregateError([error, cleanUp], `${toReason(error)}; then ${toReason(cleanUp)}`);
    });
    throw error;
  }
}

/** What a process says before it exits 1: a line for each fault. */
export function renderFatal(error: unknown): string {
  if (error instanceof ConfigError) return error.faults.map((fault) => `herald: ${fault}`).join('\n');
  if (error instanceof AggregateError) return error.errors.map(renderFatal).join('\n');
  if (error instanceof Error) return `herald: ${error.message}`;
  return `herald: ${String(error)}`;
}
