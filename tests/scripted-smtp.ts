import { once } from 'node:events';
import type { Socket } from 'node:net';
import { SMTPServer, type SMTPServerAuthentication, type SMTPServerSession } from 'smtp-server';

/**
 * What the server does with one hand-over. A text is the reply, code first, to the recipient or to the whole message; `hang`
 * reads the message and never answers; `reset` reads it and cuts the connection; `reset_before` cuts it instead of asking
 * for the message.
 */
export type Step = 'accept' | 'hang' | 'reset' | 'reset_before' | { toRecipient: string } | { toMessage: string };

export type ScriptedSmtp = {
  url: string;
  /** What the hand-overs to an address meet, one after the other; the last step stays. An address without a script: accept. */
  script(address: string, ...steps: Step[]): void;
  /** The message ids of what it accepted, of one address. */
  accepted(address: string): string[];
  /** What it accepted, as it came, of one address. */
  sources(address: string): string[];
  /** How many hand-overs to an address were begun. */
  requests(address: string): number;
  /** How many messages to an address were read to their end, whatever became of them. */
  received(address: string): number;
  /** The MAIL and RCPT commands, as they came; none of those that came under TLS. */
  envelopes(): string[];
  /** How many connections are open. */
  open(): number;
  /** Ends every connection, as a server does with idle ones. */
  hangUp(): void;
  stop(): Promise<void>;
  start(): Promise<void>;
};

export type ScriptedSmtpOptions = {
  /** With one it speaks TLS from the first byte. */
  certificate?: { key: string; cert: string };
  /** With it nobody sends who did not log in. */
  login?: { method: 'PLAIN' | 'XOAUTH2'; isRight: (credentials: SMTPServerAuthentication) => boolean };
};

/** Starts a real SMTP server that says to each address what the story wants. */
export async function startScriptedSmtp({ certificate, login }: ScriptedSmtpOptions = {}): Promise<ScriptedSmtp> {
  const scripts = new Map<string, Step[]>();
  const requests: string[] = [];
  const received: string[] = [];
  const envelopes: string[] = [];
  const accepted: { address: string; messageId: string; source: string }[] = [];
  const sockets = new Set<Socket>();
  const steps = new WeakMap<SMTPServerSession, Step>();
  let server: SMTPServer;
  let port = 0;

  const noteEnvelope = (chunk: Buffer) => {
    envelopes.push(...(chunk.toString().match(/^(MAIL|RCPT) .*$/gm) ?? []));
  };

  const next = (address: string): Step => {
    const script = scripts.get(address) ?? [];
    return (script.length > 1 ? script.shift() : script[0]) ?? 'accept';
  };

  const start = async () => {
    server = new SMTPServer({
      disabledCommands: login === undefined ? ['AUTH', 'STARTTLS'] : ['STARTTLS'],
      ...(certificate !== undefined && { secure: true, ...certificate }),
      ...(login !== undefined && { authMethods: [login.method], allowInsecureAuth: true }),
      onAuth(credentials, _session, done) {
        if (login?.isRight(credentials)) return done(null, { user: credentials.username });
        if (credentials.method !== 'XOAUTH2') return done(toReply('535 5.7.8 Username and Password not accepted'));
        // Google's words to a token that it does not take (developers.google.com/workspace/gmail/imap/xoauth2-protocol).
        return done(null, { data: { status: '401', schemes: 'bearer', scope: 'https://mail.google.com/' } });
      },
      disableReverseLookup: true,
      closeTimeout: 100,
      onRcptTo({ address }, session, done) {
        const step = next(address);
        requests.push(address);
        steps.set(session, step);
        if (step === 'reset_before') return cut(session);
        done(typeof step === 'object' && 'toRecipient' in step ? toReply(step.toRecipient) : null);
      },
      onData(stream, session, done) {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
        stream.on('end', () => {
          received.push(...session.envelope.rcptTo.map(({ address }) => address));
          const step = steps.get(session) ?? 'accept';
          if (step === 'hang') return;
          if (step === 'reset') return cut(session);
          if (typeof step === 'object') return done(toReply('toMessage' in step ? step.toMessage : step.toRecipient));
          const source = Buffer.concat(chunks).toString();
          const messageId = /^Message-ID: <([^>]+)>/im.exec(source)?.[1] ?? '';
          for (const { address } of session.envelope.rcptTo) accepted.push({ address, messageId, source });
          return done();
        });
      },
    });
    server.on('error', () => {});
    const listener = server.listen(port, '127.0.0.1');
    listener.on('connection', (socket) => {
      sockets.add(socket);
      if (certificate === undefined) socket.on('data', noteEnvelope);
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
    url: `${certificate === undefined ? 'smtp' : 'smtps'}://127.0.0.1:${port}`,
    script: (address, ...wanted) => void scripts.set(address, wanted),
    accepted: (address) => accepted.filter((mail) => mail.address === address).map(({ messageId }) => messageId),
    sources: (address) => accepted.filter((mail) => mail.address === address).map(({ source }) => source),
    requests: (address) => requests.filter((one) => one === address).length,
    received: (address) => received.filter((one) => one === address).length,
    envelopes: () => envelopes.map((line) => line.trim()),
    open: () => sockets.size,
    hangUp() {
      for (const socket of sockets) socket.destroy();
    },
    start,
    async stop() {
      // Node 24 dies when a socket goes while the TLS on it is about to end; there, the server hangs up by itself.
      if (certificate === undefined) for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(resolve));
    },
  };
}

function toReply(text: string): Error {
  const [, code, message] = /^(\d{3}) (.*)$/s.exec(text) ?? [];
  return Object.assign(new Error(message), { responseCode: Number(code) });
}
