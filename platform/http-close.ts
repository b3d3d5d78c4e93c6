import type { FastifyInstance } from 'fastify';
import type { Socket } from 'node:net';

/**
 * Makes `app.close()` end: requests in flight are answered and their connections closed after that, all other connections at
 * once. Node alone closes the idle ones once, and waits for those that never asked, or were still to be answered then.
 * Must be registered before the routes.
 * @param graceMs what requests in flight get from the beginning of the close; then they are cut off
 */
export function registerClose(app: FastifyInstance, graceMs: number): void {
  const { server } = app;
  /** Requests in flight by connection; half a request counts as none. */
  const connections = new Map<Socket, number>();
  let closing = false;
  const count = (socket: Socket, change: 0 | 1 | -1) => {
    const requests = (connections.get(socket) ?? 0) + change;
    connections.set(socket, requests);
    // Soon: what is written must still reach the client.
    if (closing && requests === 0) socket.destroySoon();
  };
  server.on('connection', (socket: Socket) => {
    count(socket, 0);
    socket.once('close', () => connections.delete(socket));
  });
  server.on('request', ({ socket }, response) => {
    count(socket, 1);
    response.once('close', () => connections.has(socket) && count(socket, -1));
  });

  app.addHook('preClose', async () => {
    closing = true;
    if (!server.listening) return;
    // Part of Node's `close`: it would destroy connections whose answer is complete and not yet sent (see nodejs/node#43890).
    server.closeIdleConnections = () => {};
    for (const socket of connections.keys()) count(socket, 0);
    const cut = setTimeout(() => server.closeAllConnections(), graceMs);
    server.once('close', () => clearTimeout(cut));
  });
  app.addHook('onSend', async (_request, reply) => {
    if (closing) void reply.header('connection', 'close');
  });
}
