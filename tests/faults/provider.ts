import { once } from 'node:events';
import type { Server, Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { SMTPServer, type SMTPServerSession } from 'smtp-server';

/** What the provider does with a message that it has read. A text is its reply, code first. */
export type Answer = { reply: string; afterMs?: number } | 'hang' | 'reset';

/**
 * One line of the ledger: what the provider knows of one hand-over, as it happened. `begun`: it saw the message's header;
 * `accepted` and `refused`: it answered so; `hung` and `reset`: it took the message and its answer never came.
 */
export type Entry = {
  notificationId: string;
  event: 'begun' | 'accepted' | 'refused' | 'hung' | 'reset';
  /** The worker that handed it over. */
  via: string;
  at: number;
};

export type Provider = Awaited<ReturnType<typeof startProvider>>;

/** What lies in the recipient's mailbox because of this. */
export const isCopy = ({ event }: Entry): boolean => event === 'accepted' || event === 'hung' || event === 'reset';

/** Nobody but the provider can know that it was taken. */
export const isUnanswered = ({ event }: Entry): boolean => event === 'hung' || event === 'reset';

export const ACCEPT: Answer = { reply: '250 2.0.0 taken' };

/** Starts a mail provider with a port for each worker, and one ledger. */
export async function startProvider(workers: readonly string[]) {
  const ledger: Entry[] = [];
  const rounds = new Map<string, number>();
  let behave: Behave = () => ACCEPT;
  /** Hand-overs of a worker wait here while it is there. */
  const gates = new Map<string, Gate>();

  const note = (via: string, notificationId: string, event: Entry['event']) => {
    ledger.push({ notificationId, event, via, at: Date.now() });
  };
  const pass = async (via: string, place: Gate['place']) => {
    const gate = gates.get(via);
    if (gate?.place !== place) return;
    gate.waiting += 1;
    await gate.opened.promise;
  };

  const answer = async (via: string, id: string, cut: () => void): Promise<Error | null | 'nothing'> => {
    await pass(via, 'answer');
    const round = (rounds.get(id) ?? 0) + 1;
    rounds.set(id, round);
    const decided = behave(id, round);
    if (decided === 'hang') {
      note(via, id, 'hung');
      return 'nothing';
    }
    if (decided === 'reset') {
      note(via, id, 'reset');
      cut();
      return 'nothing';
    }
    if (decided.afterMs !== undefined) await wait(decided.afterMs);
    const [, code = '250', text = ''] = /^(\d{3}) (.*)$/s.exec(decided.reply) ?? [];
    if (code.startsWith('2')) {
      note(via, id, 'accepted');
      return null;
    }
    note(via, id, 'refused');
    return Object.assign(new Error(text), { responseCode: Number(code) });
  };

  const listen = async (via: string): Promise<[string, Door]> => {
    const sockets = new Set<Socket>();
    const smtp = new SMTPServer({
      disabledCommands: ['AUTH', 'STARTTLS'],
      disableReverseLookup: true,
      closeTimeout: 100,
      onRcptTo(_address, _session, done) {
        void pass(via, 'recipient').then(() => done());
      },
      onData(stream, session, done) {
        let text = '';
        let id: string | undefined;
        stream.setEncoding('utf8');
        stream.on('data', (chunk: string) => {
          text += chunk;
          if (id !== undefined) return;
          id = /^Message-ID: <([^@>]+)@/im.exec(text)?.[1];
          if (id !== undefined) note(via, id, 'begun');
        });
        stream.on('end', () => {
          void answer(via, id ?? '', () => cut(session)).then((said) => said === 'nothing' || done(said));
        });
      },
    });
    const cut = ({ remotePort }: SMTPServerSession) => {
      for (const socket of sockets) if (socket.remotePort === remotePort) socket.resetAndDestroy();
    };
    smtp.on('error', () => {});
    const server: Server = smtp.listen(0, '127.0.0.1');
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no TCP address');
    const stop = async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => smtp.close(resolve));
    };
    return [via, { url: `smtp://127.0.0.1:${address.port}`, stop }];
  };
  const doors = new Map(await Promise.all(workers.map(listen)));

  return {
    ledger: ledger as readonly Entry[],
    urlOf: (worker: string) => doors.get(worker)?.url ?? '',
    /** What it does from now on; asked once for each message that it has read. */
    behaves(how: Behave) {
      behave = how;
    },
    /** Lets the hand-overs of a worker wait: before it says yes to the recipient, or with the message read and no answer given. */
    close(worker: string, place: Gate['place']): Gate {
      const gate = { place, waiting: 0, opened: Promise.withResolvers<void>() };
      gates.set(worker, gate);
      return gate;
    },
    open(worker: string) {
      gates.get(worker)?.opened.resolve();
      gates.delete(worker);
    },
    async stop() {
      for (const gate of gates.values()) gate.opened.resolve();
      await Promise.all([...doors.values()].map((door) => door.stop()));
    },
  };
}

/** @param round how often this notification was handed over, from 1 */
export type Behave = (notificationId: string, round: number) => Answer;

type Gate = { place: 'recipient' | 'answer'; waiting: number; opened: PromiseWithResolvers<void> };
type Door = { url: string; stop(): Promise<void> };
