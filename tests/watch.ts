import type { FormattedExecutionResult } from 'graphql';
import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import type { Herald } from './start.ts';

export const EVENT = 'cursor status previousStatus reason attempt at notification { id requestId }';

export type WatchedEvent = {
  cursor: string;
  status: string;
  previousStatus: string | null;
  reason: string | null;
  attempt: number;
  at: string;
  notification: { id: string; requestId: string };
};

export type Watch = {
  /** All that came until now. */
  results: FormattedExecutionResult<{ notificationStatusChanged: WatchedEvent } | null, unknown>[];
  events: WatchedEvent[];
  /** The errors of the first result that has some. */
  errors(): { message: string; extensions: Record<string, unknown> }[];
  /** Resolves when it has ended, with the error that ended it. */
  ended: Promise<unknown>;
  client: Client;
  socket(): WebSocket | undefined;
  stop(): Promise<void>;
};

/** Subscribes with graphql-ws, the reference client, and keeps what comes. It never connects again by itself. */
export function watch(
  herald: Pick<Herald, 'url' | 'adminApiKey'>,
  args: string | { query: string; variables?: Record<string, unknown>; operationName?: string },
  {
    credential = herald.adminApiKey,
    client = connect(herald, credential),
  }: { credential?: string; client?: Client & { socket?: () => WebSocket | undefined } } = {},
): Watch {
  const results: Watch['results'] = [];
  const request =
    typeof args === 'string' ? { query: `subscription { notificationStatusChanged${args} { ${EVENT} } }` } : args;
  const { promise: ended, resolve } = Promise.withResolvers<unknown>();
  const stop = client.subscribe<{ notificationStatusChanged: WatchedEvent } | null>(request, {
    next: (result) => results.push(result),
    error: resolve,
    complete: () => resolve(null),
  });
  return {
    results,
    get events() {
      return results.flatMap(({ data }) => data?.notificationStatusChanged ?? []);
    },
    errors: () => (results.find(({ errors }) => errors !== undefined)?.errors ?? []) as never,
    ended,
    client,
    socket: () => client.socket?.(),
    async stop() {
      stop();
      await client.dispose();
    },
  };
}

/** A graphql-ws client on one socket, kept in sight. */
export function connect(
  { url }: Pick<Herald, 'url'>,
  credential: string,
  params: Record<string, unknown> = { authorization: `Bearer ${credential}` },
): Client & { socket: () => WebSocket | undefined } {
  let socket: WebSocket | undefined;
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    connectionParams: params,
    retryAttempts: 0,
    lazy: true,
    lazyCloseTimeout: 0,
    webSocketImpl: WebSocket,
    on: {
      opened: (opened) => {
        socket = opened as WebSocket;
      },
    },
  });
  return Object.assign(client, { socket: () => socket });
}
