import type { Server } from 'node:net';

/** Says what to do when a port can't be had; any other error stays as it is. */
export function toListenError(error: unknown, port: number, variable: string): unknown {
  if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) return error;
  return new Error(`Port ${port} is taken: stop the program that listens there, or set ${variable} to another port.`, {
    cause: error,
  });
}

/** The URL that a listening server is reached by. */
export function toUrl(scheme: string, host: string, server: Server): string {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server does not listen on a port');
  return `${scheme}://${toUrlHost(host)}:${address.port}`;
}

/** An address as it stands in a URL; what listens on every interface is reached on the loopback one. */
export function toUrlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}
