import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { GraphQLError, Kind, OperationTypeNode, type DocumentNode, type ExecutionArgs } from 'graphql';
import { CloseCode, handleProtocols, makeServer } from 'graphql-ws';
import { WebSocket, WebSocketServer } from 'ws';
import type { Admission } from '../../platform/admission.ts';
import { readCredential } from '../../platform/credentials.ts';
import type { Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import { isRefusal, refuse, toGraphQLError, type Refusal } from '../../platform/refusal.ts';
import { readTrace } from '../../platform/trace.ts';
import type { SignedContext } from '../../platform/trust.ts';
import type { Operation, TrustedDocuments } from '../limits/trusted-documents.ts';
import type { Prepared } from './engine.ts';
import { faultsOf, type Show } from './faults.ts';
import { isOriginAllowed } from './origin.ts';
import { sayGoodbye } from './say-goodbye.ts';
import { toCredentialHeaders, type Session, type Sessions } from './sessions.ts';
import type { OnEnd, Subscribe } from './subscribe.ts';

export type WebSocketOptions = {
  path: string;
  /** Of pages, besides our own. */
  origins: readonly string[];
  maxSockets: number;
  maxSubscriptionsPerSocket: number;
};

export type WebSocketDependencies = {
  sessions: Sessions;
  admission: Pick<Admission, 'count'>;
  trusted: TrustedDocuments;
  prepare: (request: Operation) => Prepared;
  subscribe: Subscribe;
  show: Show;
  addressOf: (request: IncomingMessage) => string;
  countEnd: (reason: string) => void;
  log: Logger;
};

export type WebSockets = Running & {
  /** Takes no more, and closes all within the time, a few at a time: so that those who come back don't come as one. */
  drain(withinMs: number): Promise<void>;
  count(): number;
};

type Extra = {
  request: IncomingMessage;
  requestId: string;
  session: Session | null;
  close: (code: number, reason: string) => void;
  isOpen: () => boolean;
};

/** What `onSubscribe` found, for `subscribe`: graphql-ws hands over execution arguments only. */
type Asked = { prepared: Prepared; extra: Extra };

/**
 * Takes WebSockets that speak graphql-transport-ws (https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md) on a path of an HTTP
 * server, for subscriptions only. Close codes: 4401 no valid credential, 4403 it has run out or was revoked, 4409 too slow, with
 * `slow <cursor>`; 1001 Herald stops; 1013 try again later.
 */
export function openWebSockets(server: Server, options: WebSocketOptions, deps: WebSocketDependencies): WebSockets {
  const { sessions, admission, trusted, prepare, subscribe, show, addressOf, countEnd, log } = deps;
  const sockets = new Set<WebSocket>();
  const silent = new WeakSet<WebSocket>();
  let isOpen = true;
  const acceptor = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols: (protocols) => handleProtocols(protocols),
    perMessageDeflate: false,
    autoPong: false,
    clientTracking: false,
  });

  const protocol = makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: INIT_MS,
    async onConnect({ connectionParams, extra }) {
      const given = toCredentialHeaders(connectionParams);
      const headers = readCredential(given) === null ? extra.request.headers : given;
      const session = await sessions.open(headers, (why) => {
        countEnd(why);
        extra.close(CloseCode.Forbidden, why === 'expired' ? 'the token has run out' : 'the key was revoked');
      });
      const viewer = isRefusal(session) ? null : session.viewer;
      const limited = await admission.count(viewer, addressOf(extra.request));
      const refusal = limited ?? (isRefusal(session) ? session : null);
      if (refusal !== null || !extra.isOpen()) {
        if (!isRefusal(session)) session.close();
        if (refusal !== null) extra.close(closeCodeOf(refusal), toReason(refusal.message));
        return false;
      }
      extra.session = session as Session;
      return { requestId: extra.requestId };
    },
    async onSubscribe({ extra, subscriptions }, _id, payload) {
      try {
        const { maxSubscriptionsPerSocket } = options;
        if (Object.keys(subscriptions).length > maxSubscriptionsPerSocket)
          throw toGraphQLError(
            refuse(
              'RATE_LIMITED',
              `more than ${maxSubscriptionsPerSocket} subscriptions on one connection: open another, or ask for more at once`,
            ),
          );
        const viewer = extra.session?.viewer ?? null;
        const limited = await admission.count(viewer, addressOf(extra.request));
        if (limited !== null) throw toGraphQLError(limited);
        // The protocol wants a query: an empty one stands for the document that the extensions name.
        const request: Operation = { ...payload, query: payload.query === '' ? undefined : payload.query };
        const untrusted = trusted.admitOperation(request);
        if (untrusted !== null) throw toGraphQLError(untrusted);
        const asked: Asked = { prepared: prepare(request), extra };
        return { ...ANY_SUBSCRIPTION, contextValue: asked };
      } catch (error) {
        const faults = faultsOf(error);
        if (faults === null) log.error({ err: error, requestId: extra.requestId }, 'a subscription could not be begun');
        return faults ?? [new GraphQLError('unexpected', { extensions: { code: 'INTERNAL' } })];
      }
    },
    async subscribe({ contextValue }) {
      const { prepared, extra } = contextValue as Asked;
      if (extra.session === null) throw new Error('a subscription without a session');
      const context: SignedContext = {
        viewer: extra.session.viewer,
        requestId: extra.requestId,
        address: addressOf(extra.request),
        trace: readTrace(extra.request.headers),
      };
      const onEnd: OnEnd = ({ kind }, cursor) => {
        countEnd(kind);
        // Ends the whole connection, as only that can say why: the client goes on behind the cursor.
        if (kind === 'slow') extra.close(CloseCode.SubscriberAlreadyExists, `slow ${cursor}`);
      };
      return (await subscribe(prepared, context, onEnd)) as never;
    },
    onError: ({ extra }, _id, _payload, errors) => errors.map((error) => show(error, extra.requestId)),
    // Its errors are shown already.
    onNext: (_context, _id, _payload, _args, result) => result,
  });

  const onUpgrade = (request: IncomingMessage, raw: Duplex, head: Buffer) => {
    raw.on('error', () => raw.destroy());
    const path = (request.url ?? '').split('?', 1)[0]?.replace(/(.)\/$/, '$1');
    if (path !== options.path) return answer(raw, 404, `there is no WebSocket at ${path}: connect to ${options.path}`);
    if (!isOpen || sockets.size >= options.maxSockets)
      return answer(raw, 503, isOpen ? 'too many connections' : 'Herald is stopping', 'retry-after: 5\r\n');
    if (!isOriginAllowed(request.headers, options.origins))
      return answer(raw, 403, `pages of ${request.headers.origin} may not connect: CORS_ORIGINS must name it`);
    return acceptor.handleUpgrade(request, raw, head, (socket) => take(socket, request));
  };

  const take = (socket: WebSocket, request: IncomingMessage) => {
    sockets.add(socket);
    const extra: Extra = {
      request,
      requestId: randomUUID(),
      session: null,
      close: (code, reason) => socket.close(code, reason),
      isOpen: () => socket.readyState === WebSocket.OPEN,
    };
    /** Who asks and doesn't read the answers would fill our memory with them. */
    const isRead = () => {
      if (socket.bufferedAmount <= MAX_UNREAD_BYTES) return true;
      socket.terminate();
      return false;
    };
    const closed = protocol.opened(
      {
        protocol: socket.protocol,
        // Resolves when the message has left: so a slow reader holds back what it reads, and nothing piles up here.
        send: (message) =>
          new Promise((resolve) => {
            // Why it could not be sent is told by the close that follows.
            if (extra.isOpen()) socket.send(message, () => resolve());
            else resolve();
          }),
        close: (code, reason) => socket.close(code, reason),
        onMessage: (handle) =>
          socket.on('message', (data, isBinary) => {
            if (!isRead()) return;
            if (isBinary) return socket.close(1003, 'send text');
            // eslint-disable-next-line @typescript-eslint/no-base-to-string -- ws gives a Buffer
            return void handle(String(data)).catch((error: unknown) => {
              if (!extra.isOpen()) return;
              if (isClientFault(error)) return socket.close(CloseCode.BadRequest, 'Invalid message received');
              log.error({ err: error, requestId: extra.requestId }, 'a WebSocket message could not be handled');
              return socket.close(CloseCode.InternalServerError, 'something went wrong here');
            });
          }),
      },
      extra,
    );
    socket.on('error', () => socket.terminate());
    socket.on('ping', (data) => {
      if (isRead()) socket.pong(data);
    });
    socket.on('pong', () => silent.delete(socket));
    socket.once('close', (code, reason) => {
      sockets.delete(socket);
      extra.session?.close();
      void closed(code, reason.toString());
    });
  };

  // Every 12 s a ping; who has not answered the last one is gone.
  const heartbeat = setInterval(() => {
    for (const socket of sockets) {
      if (silent.has(socket)) {
        socket.terminate();
        continue;
      }
      silent.add(socket);
      socket.ping();
    }
  }, PING_MS);

  server.on('upgrade', onUpgrade);
  return {
    count: () => sockets.size,
    async drain(withinMs) {
      isOpen = false;
      await sayGoodbye([...sockets], withinMs, (socket) => socket.close(1001, 'Herald is stopping: come back'));
      const late = performance.now() + Math.min(CLOSE_MS, withinMs);
      while (sockets.size > 0 && performance.now() < late) await wait(5);
    },
    async stop() {
      isOpen = false;
      clearInterval(heartbeat);
      server.off('upgrade', onUpgrade);
      for (const socket of sockets) socket.terminate();
      acceptor.close();
    },
  };
}

const closeCodeOf = ({ code }: Refusal): number => {
  if (code === 'UNAUTHENTICATED') return CloseCode.Unauthorized;
  return code === 'FORBIDDEN' ? CloseCode.Forbidden : TRY_AGAIN_LATER;
};

/** At most 123 bytes fit. */
const toReason = (message: string) => Buffer.from(message).subarray(0, 120).toString();

/** graphql-ws throws for a message that only a server sends. */
const isClientFault = (error: unknown) => error instanceof Error && error.message.startsWith('Unexpected message');

function answer(raw: Duplex, status: number, message: string, headers = ''): void {
  // No limit of the HTTP server holds for it any more: whoever keeps it open is closed.
  raw.once('finish', () => raw.destroy());
  const body = JSON.stringify({ status, detail: message });
  raw.end(
    `HTTP/1.1 ${status} ${status === 503 ? 'Service Unavailable' : status === 403 ? 'Forbidden' : 'Not Found'}\r\n` +
      `content-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n${headers}\r\n${body}`,
  );
}

/** graphql-ws looks at what kind of operation it is; the engine has its own document. */
const ANY_SUBSCRIPTION = {
  schema: null as never,
  document: {
    kind: Kind.DOCUMENT,
    definitions: [
      {
        kind: Kind.OPERATION_DEFINITION,
        operation: OperationTypeNode.SUBSCRIPTION,
        selectionSet: { kind: Kind.SELECTION_SET, selections: [] },
      },
    ],
  } satisfies DocumentNode,
} satisfies ExecutionArgs;

const TRY_AGAIN_LATER = 1013;
const MAX_MESSAGE_BYTES = 64 * 1024;
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;
/** Until the first message, which says who it is. */
const INIT_MS = 3_000;
const PING_MS = 12_000;
/** What the other side gets to answer the goodbye. */
const CLOSE_MS = 1_000;
