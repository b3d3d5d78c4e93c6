import { once } from 'node:events';
import type { Socket } from 'node:net';
import { SMTPServer, type SMTPServerSession } from 'smtp-server';

/**
 * What the server does with one hand-over. A text is the reply, code first, to the recipient or to the whole message; `hang`
 * reads the message and never answers; `reset` reads it and cuts the connection.
 */
export type Step = 'accept' | 'hang' | 'reset' | { toRecipient: string } | { toMessage: string };

export type ScriptedSmtp = {
  url: string;
  /** What the hand-overs to an address meet, one after the other; the last step stays. An address without a script: accept. */
  script(address: string, ...steps: Step[]): void;
  /** The message ids of what it accepted, of one address. */
  accepted(address: string): string[];
  stop(): Promise<void>;
  start(): Promise<void>;
};

/** Starts a real SMTP server that says to each address what the story wants. */
export async function startScriptedSmtp(): Promise<ScriptedSmtp> {
  const scripts = new Map<string, Step[]>();
  const accepted: { address: string; messageId: string }[] = [];
  const sockets = new Set<Socket>();
  const steps = new WeakMap<SMTPServerSession, Step>();
  let server: SMTPServer;
  let port = 0;

  const next = (address: string): Step => {
    const script = scripts.get(address) ?? [];
    return (script.length > 1 ? script.shift() : script[0]) ?? 'accept';
  };

  const start = async () => {
    server = new SMTPServer({
      disabledCommands: ['AUTH', 'STARTTLS'],
      disableReverseLookup: true,
      closeTimeout: 100,
      onRcptTo({ address }, session, done) {
        const step = next(address);
        steps.set(session, step);
        done(typeof step === 'object' && 'toRecipient' in step ? toReply(step.toRecipient) : null);
      },
      onData(stream, session, done) {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
        stream.on('end', () => {
          const step = steps.get(session) ?? 'accept';
          if (step === 'hang') return;
          if (step === 'reset') return cut(session);
          if (typeof step === 'object') return done(toReply('toMessage' in step ? step.toMessage : step.toRecipient));
          const messageId = /^Message-ID: <([^>]+)>/im.exec(Buffer.concat(chunks).toString())?.[1] ?? '';
          for (const { address } of session.envelope.rcptTo) accepted.push({ address, messageId });
          return done();
        });
      },
    });
    server.on('error', () => {});
    const listener = server.listen(port, '127.0.0.1');
    listener.on('connection', (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    await once(listener, 'listening');
    const address = listener.address();
    if (typeof address === 'object' && address !== null) port = address.port;
  };

  const cut = ({ remotePort }: SMTPServerSession) => {
    for (const socket of sockets) if (socket.remotePort === remotePort) socket.resetAndDestroy();
  };

  await start();
  return {
    url: `smtp://127.0.0.1:${port}`,
    script: (address, ...wanted) => void scripts.set(address, wanted),
    accepted: (address) => accepted.filter((mail) => mail.address === address).map(({ messageId }) => messageId),
    start,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(resolve));
    },
  };
}

function toReply(text: string): Error {
  const [, code, message] = /^(\d{3}) (.*)$/s.exec(text) ?? [];
  return Object.assign(new Error(message), { responseCode: Number(code) });
}
