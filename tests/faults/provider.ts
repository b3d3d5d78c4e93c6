import { setTimeout as wait } from 'node:timers/promises';
import { openPushDoor, openSendgridDoor, openSmtpDoor, type Door } from './doors.ts';

/** What the provider says of a message that it has read; each door in its own words. */
export type Said = { kind: 'accept' | 'later' | 'never'; retryAfterSeconds?: number };

/** What it does with one. `hang` and `reset`: it takes the message, and never answers, or cuts the connection. */
export type Answer = (Said & { afterMs?: number }) | 'hang' | 'reset';

/**
 * One line of the ledger: what the provider knows of one hand-over, as it happened. `begun`: it saw the message;
 * `accepted` and `refused`: it answered so; `hung` and `reset`: it took the message and its answer never came.
 */
export type Entry = {
  notificationId: string;
  event: 'begun' | 'accepted' | 'refused' | 'hung' | 'reset';
  /** The worker that handed it over. */
  via: string;
  /** Milliseconds since 1970. */
  at: number;
  /** How long it wanted to be left alone with it. */
  retryAfterSeconds?: number;
};

export type Provider = Awaited<ReturnType<typeof startProvider>>;

/** What lies in the recipient's mailbox because of this. */
export const isCopy = ({ event }: Entry): boolean => event === 'accepted' || event === 'hung' || event === 'reset';

/** Nobody but the provider can know that it was taken. */
export const isUnanswered = ({ event }: Entry): boolean => event === 'hung' || event === 'reset';

export const ACCEPT: Said = { kind: 'accept' };

/** Starts a provider of mail and push messages with doors for each worker, and one ledger. */
export async function startProvider(workers: readonly string[]) {
  const ledger: Entry[] = [];
  const rounds = new Map<string, number>();
  let behave: Behave = () => ACCEPT;
  /** Hand-overs of a worker wait here while it is there. */
  const gates = new Map<string, Gate>();

  const note = (entry: Omit<Entry, 'at'>) => void ledger.push({ ...entry, at: Date.now() });
  const pass = async (via: string, place: Gate['place']) => {
    const gate = gates.get(via);
    if (gate?.place !== place) return;
    gate.waiting += 1;
    await gate.opened.promise;
  };
  const desk: Desk = {
    pass,
    begin: (via, notificationId) => note({ notificationId, event: 'begun', via }),
    async take(via, notificationId, cut) {
      await pass(via, 'answer');
      const round = (rounds.get(notificationId) ?? 0) + 1;
      rounds.set(notificationId, round);
      const decided = behave(notificationId, round, via);
      if (decided === 'hang' || decided === 'reset') {
        note({ notificationId, event: decided === 'hang' ? 'hung' : 'reset', via });
        if (decided === 'reset') cut();
        return null;
      }
      const { afterMs = 0, kind, retryAfterSeconds } = decided;
      await wait(afterMs);
      if (kind === 'accept') note({ notificationId, event: 'accepted', via });
      else
        note({ notificationId, event: 'refused', via, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) });
      return decided;
    },
  };
  const open = { smtp: openSmtpDoor, push: openPushDoor, sendgrid: openSendgridDoor };
  const doors = new Map<string, Door>();
  for (const worker of workers)
    for (const name of DOORS) doors.set(`${worker} ${name}`, await open[name](worker, desk));

  return {
    ledger: ledger as readonly Entry[],
    urlOf: (worker: string, door: DoorName) => doors.get(`${worker} ${door}`)?.url ?? '',
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

/** @param round how often this notification was handed over, from 1; `via`: by which worker */
export type Behave = (notificationId: string, round: number, via: string) => Answer;

/** What lies behind every door. */
export type Desk = {
  pass(via: string, place: Gate['place']): Promise<void>;
  begin(via: string, notificationId: string): void;
  /** The message is read. @returns what to say of it, null for nothing */
  take(via: string, notificationId: string, cut: () => void): Promise<Said | null>;
};

const DOORS = ['smtp', 'push', 'sendgrid'] as const;
type DoorName = (typeof DOORS)[number];
type Gate = { place: 'recipient' | 'answer'; waiting: number; opened: PromiseWithResolvers<void> };
