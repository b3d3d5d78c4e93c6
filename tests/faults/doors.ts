import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { SMTPServer, type SMTPServerSession } from 'smtp-server';
import type { Desk, Said } from './provider.ts';

/** Where a worker hands messages over, in the language of its provider. */
export type Door = { url: string; stop(): Promise<void> };

/** SMTP. The message is known by its Message-ID. */
export async function openSmtpDoor(via: string, desk: Desk): Promise<Door> {
  const smtp = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    closeTimeout: 100,
    onRcptTo(_address, _session, done) {
      void desk.pass(via, 'recipient').then(() => done());
    },
    onData(stream, session, done) {
      let read = '';
      let id: string | undefined;
      stream.setEncoding('utf8');
      stream.on('data', (chunk: string) => {
        read += chunk;
        if (id !== undefined) return;
        id = /^Message-ID: <([^@>]+)@/im.exec(read)?.[1];
        if (id !== undefined) desk.begin(via, id);
      });
      stream.on('end', () => {
        void desk.take(via, id ?? '', () => cut(session)).then((said) => said && done(toSmtpReply(said)));
      });
    },
  });
  smtp.on('error', () => {});
  const server: Server = smtp.listen(0, '127.0.0.1');
  const sockets = collectSockets(server);
  const cut = ({ remotePort }: SMTPServerSession) => {
    for (const socket of sockets) if (socket.remotePort === remotePort) socket.resetAndDestroy();
  };
  await once(server, 'listening');
  return {
    url: `smtp://127.0.0.1:${portOf(server)}`,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => smtp.close(resolve));
    },
  };
}

/** What the push sandbox posts its messages to. */
export const openPushDoor = (via: string, desk: Desk): Promise<Door> =>
  openHttpDoor(via, desk, {
    toId: (body) => body.notificationId,
    answer: (said, response) => {
      if (said.kind === 'accept') response.writeHead(201).end();
      else response.writeHead(said.kind === 'later' ? 503 : 400).end();
    },
    answerGet: (response) => response.end('[]'),
  });

/** SendGrid's `POST /v3/mail/send`, and the scopes of its key. */
export const openSendgridDoor = (via: string, desk: Desk): Promise<Door> =>
  openHttpDoor(via, desk, {
    toId: (body) => body.custom_args.notification_id,
    answer: (said, response) => {
      if (said.kind === 'accept') response.writeHead(202, { 'x-message-id': 'taken' }).end();
      else if (said.kind === 'never') response.writeHead(400).end('{"errors":[{"message":"not wanted"}]}');
      else if (said.retryAfterSeconds === undefined) response.writeHead(500).end();
      else response.writeHead(429, { 'retry-after': String(said.retryAfterSeconds) }).end();
    },
    answerGet: (response) => response.end('{"scopes":["mail.send"]}'),
  });

async function openHttpDoor(
  via: string,
  desk: Desk,
  provider: {
    // eslint-disable-next-line @typescript-eslint/no-explicit-any -- whatever the worker posted
    toId: (body: any) => string;
    answer: (said: Said, response: ServerResponse) => void;
    answerGet: (response: ServerResponse) => void;
  },
): Promise<Door> {
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.method === 'GET') return provider.answerGet(response);
    const id = provider.toId(JSON.parse(await text(request)));
    desk.begin(via, id);
    const said = await desk.take(via, id, () => request.socket.resetAndDestroy());
    if (said) provider.answer(said, response);
  };
  const server = createServer((request, response) => {
    // A worker that is killed while it hands over.
    handle(request, response).catch(() => response.destroy());
  });
  const sockets = collectSockets(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function collectSockets(server: Server): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return sockets;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

const toSmtpReply = ({ kind }: Said): Error | null =>
  kind === 'accept'
    ? null
    : Object.assign(new Error(kind === 'later' ? '4.2.0 later' : '5.7.1 not wanted'), {
        responseCode: kind === 'later' ? 450 : 554,
      });
