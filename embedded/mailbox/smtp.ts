import { once } from 'node:events';
import type { Socket } from 'node:net';
import { finished } from 'node:stream/promises';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import { toListenError, toUrl } from './listening.ts';
import type { MailStore } from './mail-store.ts';

const MAX_MAIL_BYTES = 10 * 1024 * 1024;
const CLOSE_TIMEOUT_MS = 300;

type Options = { port: number; host: string; mails: MailStore; log: (line: string) => void };

/** Starts an SMTP server that takes any mail for anybody, up to 10 MiB, and says 250 once it is kept. */
export async function startSmtp({ port, host, mails, log }: Options): Promise<{ url: string; stop(): Promise<void> }> {
  const receiving = new Set<Promise<void>>();
  const server = new SMTPServer({
    banner: 'Herald mailbox',
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true, // a look-up per connection would make sending slow, or hang it offline
    size: MAX_MAIL_BYTES,
    closeTimeout: CLOSE_TIMEOUT_MS,
    onData: (stream, session, done) => {
      const work = receive(stream, session)
        .then(async (mail) => done(null, `kept as ${await mails.add(mail)}`))
        .catch((error: unknown) => done(error instanceof Error ? error : new Error(String(error))))
        .finally(() => receiving.delete(work));
      receiving.add(work);
    },
  });
  const sockets = new Set<Socket>();
  const listener = server.listen(port, host);
  // Ahead of `once` below: smtp-server passes the listener's errors on, and without a taker that throws
  server.on('error', (error) => {
    const isReset = 'code' in error && error.code === 'ECONNRESET';
    if (listener.listening && !isReset) log(`mailbox: SMTP: ${error.message}`);
  });
  listener.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await once(listener, 'listening').catch((error: unknown) => {
    throw toListenError(error, port, 'SMTP_PORT');
  });
  return {
    url: toUrl('smtp', host, listener),
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await Promise.race([Promise.allSettled(receiving), closed]);
      // Pooled senders keep idle connections open; a reply that is still to be written goes out first
      for (const socket of sockets) socket.destroySoon();
      await closed;
    },
  };
}

/** Reads a mail, headed by its envelope the way a mail server notes it at final delivery (RFC 5321, 4.4): Bcc is only there. */
async function receive(stream: SMTPServerDataStream, { envelope }: SMTPServerSession): Promise<Buffer> {
  const trace = [
    `Return-Path: <${envelope.mailFrom ? envelope.mailFrom.address : ''}>`,
    ...envelope.rcptTo.map(({ address }) => `Delivered-To: ${address}`),
  ];
  const chunks: Buffer[] = [Buffer.from(`${trace.join('\r\n')}\r\n`)];
  stream.on('data', (chunk: Buffer) => {
    // What is too long still has to be read to its end before it can be refused
    if (stream.byteLength <= MAX_MAIL_BYTES) chunks.push(chunk);
  });
  await finished(stream, { writable: false });
  if (stream.sizeExceeded) {
    throw Object.assign(new Error(`The mail is larger than ${MAX_MAIL_BYTES / 1024 / 1024} MiB`), {
      responseCode: 552,
    });
  }
  return Buffer.concat(chunks);
}
