import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** The way from one process to one server, over a port of our own. */
export type Link = {
  port: number;
  open(): void;
  /** Resets every connection, and every new one. What was under way is lost. */
  cut(): void;
  /** Holds every byte, also the end of a connection, as a network does that lost the route; `open` lets them go on. */
  hold(): void;
  stop(): Promise<void>;
};

/** Opens a way to a server of 127.0.0.1. */
export async function createLink(to: number): Promise<Link> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let state: 'open' | 'cut' | 'held' = 'open';

  const server = createServer((near) => {
    if (state === 'cut') return void near.resetAndDestroy();
    const far = connect(to, '127.0.0.1');
    const pair = [near, far] as const;
    pairs.add(pair);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        pairs.delete(pair);
        other.destroy();
      });
    }
    if (state === 'open') join(pair);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no TCP address');

  const cut = () => {
    state = 'cut';
    for (const pair of pairs) for (const socket of pair) socket.resetAndDestroy();
  };
  return {
    port: address.port,
    open() {
      if (state === 'held') for (const pair of pairs) join(pair);
      state = 'open';
    },
    cut,
    hold() {
      state = 'held';
      for (const pair of pairs) part(pair);
    },
    async stop() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}

function join([near, far]: readonly [Socket, Socket]): void {
  near.pipe(far).pipe(near);
}

function part([near, far]: readonly [Socket, Socket]): void {
  for (const socket of [near, far]) socket.unpipe().pause();
}
