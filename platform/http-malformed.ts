import { randomUUID } from 'node:crypto';
import { ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from './logger.ts';
import { toProblemDetails } from './problem.ts';

/**
 * Answers what Node can't read as HTTP (`clientError`), which reaches no hook and no error handler: problem details, and the end of the
 * connection. Told at `debug` only: anybody may send as much of it as they like.
 * @param headers those of every answer
 */
export const createMalformedAnswer =
  (log: Logger, headers: Record<string, string>) =>
  (error: NodeJS.ErrnoException, socket: Socket): void => {
    // What belongs to an answer that is under way would be read as a part of it.
    const isAnswering =
      '_httpMessage' in socket && socket._httpMessage instanceof ServerResponse && socket._httpMessage.headersSent;
    if (error.code === 'ECONNRESET' || !socket.writable || isAnswering) {
      socket.destroy();
      return;
    }
    const requestId = randomUUID();
    const { status, detail } = FAULTS[error.code ?? ''] ?? { status: 400, detail: 'this is not HTTP as it should be' };
    log.debug({ requestId, from: socket.remoteAddress, why: error.code }, 'refused what is not HTTP');
    const body = JSON.stringify(toProblemDetails({ code: 'BAD_USER_INPUT', detail }, requestId, status));
    const head = {
      ...headers,
      'x-request-id': requestId,
      'content-type': 'application/problem+json',
      'content-length': Buffer.byteLength(body),
      connection: 'close',
    };
    const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}`);
    socket.write([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, '', body].join('\r\n'));
    // Soon: what is written must still reach the client.
    socket.destroySoon();
  };

const FAULTS: Record<string, { status: number; detail: string } | undefined> = {
  HPE_HEADER_OVERFLOW: { status: 431, detail: 'the headers are larger than 16 KiB' },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { status: 413, detail: 'the chunk extensions are larger than 16 KiB' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, detail: 'the request did not arrive in time' },
};
