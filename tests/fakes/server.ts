import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { Answer, Script } from './script.ts';

export type FakeRequest = { method: string; path: string; headers: IncomingHttpHeaders; body: Buffer };

/** `cut` resets the connection. */
export type Reply = Answer | 'hang' | 'cut';

export type FakeServer = {
  port: number;
  /** How many connections there were so far. */
  connections(): number;
  /** How many are open now. */
  open(): number;
  /** How many clients still wait for an answer that never comes. */
  hanging(): number;
  stop(): Promise<void>;
};

/** Starts a server on 127.0.0.1, with TLS when there is a certificate, that gives each request to `handle`. */
export async function startFakeServer(
  handle: (request: FakeRequest) => Reply | Promise<Reply>,
  certificate: { key: string; cert: string } | null = null,
): Promise<FakeServer> {
  const server = certificate === null ? createHttpServer() : createHttpsServer(certificate);
  const sockets = new Set<Socket>();
  let connections = 0;
  let hanging = 0;
  // Under TLS this is the bare connection, the only one that can be reset.
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const cut = ({ socket: { remotePort } }: IncomingMessage) => {
    for (const socket of sockets) if (socket.remotePort === remotePort) socket.resetAndDestroy();
  };
  server.on('request', (request, response) => {
    void buffer(request).then(
      async (body) => {
        const { method = '', url: path = '', headers } = request;
        const reply = await handle({ method, path, headers, body });
        if (reply === 'hang') {
          hanging += 1;
          response.once('close', () => (hanging -= 1));
          return;
        }
        if (reply === 'cut') return cut(request);
        const isText = typeof reply.body === 'string';
        const type = { 'content-type': isText ? 'text/html' : 'application/json' };
        response.writeHead(reply.status, { ...type, ...reply.headers });
        response.end(isText || reply.body === undefined ? reply.body : JSON.stringify(reply.body));
      },
      () => {}, // The client left in the middle.
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    connections: () => connections,
    open: () => sockets.size,
    hanging: () => hanging,
    async stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}

/** What the script has for a request that is in order. @param accept notes it as accepted and answers */
export function follow(script: Script, device: string, { headers }: FakeRequest, accept: () => Reply): Reply {
  const step = script.next(device);
  switch (step) {
    case 'accept':
      return accept();
    case 'reset_after':
      accept();
      return 'cut';
    case 'reset_before':
      return 'cut';
    case 'echo':
      return { status: 403, body: JSON.stringify(headers) };
    case 'hang':
    default:
      return step;
  }
}
