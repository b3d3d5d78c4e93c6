import { createClient, type Client as Connection } from 'graphql-ws/client';
import type { Document } from './client.ts';
import { GraphQLRequestError, type GraphQLFault } from './request-error.ts';

export type SubscribeOptions = {
  /** Ends the iteration, without an error. */
  signal?: AbortSignal;
  /** Called as soon as events can flow: at first, and after every loss of the connection. */
  onConnected?: (connection: { isReconnected: boolean }) => void;
  /** Called when the connection is lost or can't be made, for example to show that what is shown may be old. */
  onDisconnected?: (loss: { cause: unknown; retryInMs: number }) => void;
  /** Called before an event is given of which parts are missing: each error's `path` says where null stands for what could not be had. */
  onIncomplete?: (errors: readonly GraphQLRequestError[]) => void;
  /** How often in a row the connection may be tried again before the iteration throws; no limit when left out. */
  maxRetries?: number;
  /** Waits between tries: at random up to a time that doubles from `baseMs` (500) to `capMs` (30,000). */
  backOff?: { baseMs?: number; capMs?: number };
};

/** Where to connect, and what proves who asks. */
export type Door = { url: string; authorize: () => Promise<Record<string, string>> };

/** Runs one subscription; see `Client.subscribe`. */
export function subscribe<Result, Variables extends object>(
  door: Door,
  document: Document<Result, Variables>,
  variables: Variables,
  options: SubscribeOptions = {},
): AsyncIterableIterator<Result> {
  const ended = new AbortController();
  const signal = options.signal ? AbortSignal.any([ended.signal, options.signal]) : ended.signal;
  const events = follow<Result>(door, document.toString(), variables, options, signal);
  return {
    next: () => events.next(),
    // A generator's own `return` would wait for the next event.
    async return() {
      ended.abort();
      await events.return();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

async function* follow<Result>(
  door: Door,
  query: string,
  variables: object,
  options: SubscribeOptions,
  signal: AbortSignal,
): AsyncGenerator<Result, void, void> {
  const { maxRetries = Infinity, onConnected, onDisconnected, onIncomplete } = options;
  const takesCursor = /\$after\s*:/.test(query);
  let isReconnected = false;
  let failures = 0;
  while (!signal.aborted) {
    const loss = new Loss();
    const startedAt = Date.now();
    const connection = openConnection(door, loss, () => {
      onConnected?.({ isReconnected });
      isReconnected = true;
    });
    const events = connection.iterate<Result>({ query, variables: { ...variables } });
    const stop = () => {
      // Says goodbye where somebody listens; else it stops waiting for them.
      if (loss.wasConnected) void events.return?.();
      else connection.terminate();
    };
    signal.addEventListener('abort', stop);
    try {
      for await (const { data, errors = [] } of events) {
        if (errors.length > 0 && !hasEvent(data)) {
          loss.note(errors);
          break;
        }
        if (data === null || data === undefined) continue;
        failures = 0;
        const cursor = takesCursor ? cursorOf(data) : undefined;
        if (cursor !== undefined) variables = { ...variables, after: cursor };
        if (errors.length > 0) onIncomplete?.(errors.map((fault) => new GraphQLRequestError(fault as GraphQLFault)));
        yield data;
      }
      if (!loss.isLost) return;
    } catch (error) {
      loss.note(error);
    } finally {
      signal.removeEventListener('abort', stop);
      close(connection);
    }
    if (signal.aborted) return;
    const refusal = loss.toRefusal(door.url);
    if (refusal !== null) throw refusal;
    if (Date.now() - startedAt > HELD_MS) failures = 0;
    failures += 1;
    if (failures > maxRetries)
      throw new Error(`${door.url} can't be reached, after ${maxRetries} retries`, { cause: loss.cause });
    const retryInMs = loss.retryAfterMs() + toDelayMs(failures, options.backOff);
    onDisconnected?.({ cause: loss.cause, retryInMs });
    await pause(retryInMs, signal);
  }
}

/** One WebSocket (graphql-transport-ws). It is never opened a second time: the variables of the next one are others. */
function openConnection(door: Door, loss: Loss, onConnected: () => void): Connection {
  let pongTimer: ReturnType<typeof setTimeout> | undefined;
  const connection = createClient({
    url: door.url,
    connectionParams: door.authorize,
    connectionAckWaitTimeout: ANSWER_MS,
    keepAlive: PING_EVERY_MS,
    retryAttempts: 0,
    on: {
      connected: () => {
        loss.wasConnected = true;
        onConnected();
      },
      // A peer that is gone without a word is noticed by its silence.
      ping: (isReceived) => {
        if (!isReceived) pongTimer = setTimeout(() => connection.terminate(), ANSWER_MS);
      },
      pong: (isReceived) => {
        if (isReceived) clearTimeout(pongTimer);
      },
      closed: (event) => {
        clearTimeout(pongTimer);
        loss.note(event);
        // graphql-ws would itself send the same variables again after a normal closure.
        close(connection);
      },
      error: (error) => loss.note(error),
    },
  });
  return connection;
}

function close(connection: Connection): void {
  // It rejects when the connection was never made, which is known by then.
  Promise.resolve(connection.dispose()).catch(() => {});
}

/** Why a connection ended, unless it was Herald that had no more to tell. */
class Loss {
  wasConnected = false;
  isLost = false;
  cause: unknown;

  /** The first cause counts: those that follow are its consequences. */
  note(cause: unknown): void {
    if (!this.isLost) this.cause = cause;
    this.isLost = true;
  }

  /** What is to be thrown: null where another try may succeed. */
  toRefusal(url: string): Error | null {
    if (isFaults(this.cause)) {
      const [fault] = this.cause;
      const error = fault && new GraphQLRequestError(fault);
      return error === undefined || PASSING_CODES.includes(error.code) ? null : error;
    }
    if (!isClosure(this.cause)) return null;
    const { code, reason } = this.cause;
    if (UNAUTHENTICATED_CODES.includes(code)) {
      // A token that ran out in the middle may have a successor.
      if (this.wasConnected) return null;
      return new GraphQLRequestError({ message: reason || REFUSED, extensions: { code: 'UNAUTHENTICATED' } });
    }
    if (!FATAL_CODES.includes(code)) return null;
    return new Error(`${url} closed the connection: ${code} ${reason}`, { cause: this.cause });
  }

  /** What Herald asks to wait at least. */
  retryAfterMs(): number {
    const [fault] = isFaults(this.cause) ? this.cause : [];
    return (fault?.extensions?.retryAfterSeconds ?? 0) * 1_000;
  }
}

const hasEvent = (data: unknown): boolean =>
  typeof data === 'object' && data !== null && Object.values(data).some((event) => event !== null);

/** The cursor of the event, which is what a root field of a subscription gives. */
function cursorOf(data: object): string | undefined {
  for (const event of Object.values(data) as unknown[]) {
    if (typeof event !== 'object' || event === null || !('cursor' in event)) continue;
    if (typeof event.cursor === 'string') return event.cursor;
  }
  return undefined;
}

/** Full jitter: clients that lost the same gateway don't come back as one. */
function toDelayMs(failures: number, { baseMs = 500, capMs = 30_000 }: SubscribeOptions['backOff'] = {}): number {
  return Math.round(Math.random() * Math.min(capMs, baseMs * 2 ** (failures - 1)));
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });

const isFaults = (cause: unknown): cause is readonly GraphQLFault[] => Array.isArray(cause);

const isClosure = (cause: unknown): cause is { code: number; reason: string } =>
  typeof cause === 'object' && cause !== null && 'code' in cause && typeof cause.code === 'number' && 'reason' in cause;

const PING_EVERY_MS = 10_000;
const ANSWER_MS = 5_000;
/** A connection that held so long was a good one. */
const HELD_MS = 10_000;
/** Refusals that are over some time later. */
const PASSING_CODES = ['UNAVAILABLE', 'TIMEOUT', 'RATE_LIMITED'];
const UNAUTHENTICATED_CODES = [4401, 4403];
/**
 * The protocol's own (graphql-transport-ws), and RFC 6455's: what was said is not understood, and won't be next time. Not 4409: Herald
 * closes with it when events are read too slowly, and the next connection goes on behind the last.
 */
const FATAL_CODES = [1002, 1003, 1007, 1008, 1009, 1010, 4004, 4005, 4400, 4406, 4429];
const REFUSED = 'no valid credential';
