import { ConfigError } from './env.ts';

/** What every `start…` function gives back. `stop` takes no more work, finishes what is in flight, closes in reverse order. */
export type Running = { stop(): Promise<void> };

/** Longer than a worker's slowest send, so that its outcome is still recorded. */
const STOP_DEADLINE_MS = 30_000;

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
    await withDeadline(
      running.stop(),
      STOP_DEADLINE_MS,
      'still busy after 30 s: ended with work in flight; it is resumed at the next start',
    );
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
export async function withDeadline<T>(work: Promise<T>, deadlineMs: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(message)), deadlineMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Collects what was started, so that a failed start or a stop closes it in reverse order. */
export class Started implements Running {
  readonly #stops: { name: string; stop: () => Promise<void> }[] = [];

  add<T extends Running>(name: string, running: T): T {
    this.#stops.push({ name, stop: () => running.stop() });
    return running;
  }

  /** Registers anything that must be closed. */
  onStop(name: string, stop: () => Promise<void> | void): void {
    this.#stops.push({ name, stop: async () => stop() });
  }

  async stop(): Promise<void> {
    const errors: Error[] = [];
    for (const { name, stop } of this.#stops.splice(0).reverse()) {
      await stop().catch((cause: unknown) => {
        const why = cause instanceof Error ? cause.message : String(cause);
        errors.push(new Error(`could not stop ${name}: ${why}`, { cause }));
      });
    }
    if (errors.length > 0) throw new AggregateError(errors, errors.map((error) => error.message).join('; '));
  }
}

/** Runs a start function with a collector; what was already started is stopped when it fails. */
export async function startAll<T>(start: (started: Started) => Promise<T>): Promise<T & Running> {
  const started = new Started();
  try {
    return { ...(await start(started)), stop: () => started.stop() };
  } catch (error) {
    await started.stop();
    throw error;
  }
}

/** What a process says before it exits 1: a line for each fault. */
export function renderFatal(error: unknown): string {
  if (error instanceof ConfigError) return error.faults.map((fault) => `herald: ${fault}`).join('\n');
  if (error instanceof Error) return `herald: ${error.message}`;
  return `herald: ${String(error)}`;
}
