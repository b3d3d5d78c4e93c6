import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** One address for several: each connection goes to the next of them, and on to another while that one does not listen. */
export async function startRoundRobin(ports: readonly number[]) {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
    return socket;
  };
  let turn = 0;
  const taken = ports.map(() => 0);
  const pass = (from: Socket, left: number) => {
    turn = (turn + 1) % ports.length;
    const place = turn;
    const to = keep(connect(ports[place] ?? 0, '127.0.0.1'));
    let isConnected = false;
    to.once('connect', () => {
      isConnected = true;
      taken[place] = (taken[place] ?? 0) + 1;
      from.pipe(to);
      to.pipe(from);
    });
    to.once('close', () => {
      if (isConnected || left <= 1) from.destroy();
      else pass(from, left - 1);
    });
    from.once('close', () => to.destroy());
  };
  const server = createServer((from) => pass(keep(from), ports.length));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    /** How many connections each of them has taken. */
    taken,
    /** Ends what is connected: who comes again is shared out among all who listen by now. */
    mix() {
      for (const socket of sockets) socket.destroy();
    },
    async stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close').catch(() => {});
    },
  };
}
