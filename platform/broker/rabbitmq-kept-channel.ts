import type { Channel, ChannelModel } from 'amqplib';
import { withDeadline } from '../lifecycle.ts';
import { toReason, type FaultLog } from '../log-on-change.ts';
import { closeChannel, openChannel, type Connection } from './rabbitmq-connection.ts';

/**
 * Keeps a channel open while it is wanted: opens it at each connect, and again when the server closes it.
 * @param open what to do on a fresh channel (consume from it); what it returns is the session
 */
export function keepChannel<Session>(
  connection: Connection,
  { open, faults }: { open: (channel: Channel, model: ChannelModel) => Promise<Session>; faults: FaultLog },
): KeptChannel<Session> {
  let wanted = true;
  let current: { channel: Channel; session: Session } | undefined;
  let retry: NodeJS.Timeout | undefined;
  // One step after the other, in the order asked for: a pause, a resume and a reconnect can't cross.
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => T | Promise<T>): Promise<T> => {
    const done = turn.then(work);
    turn = done;
    return done;
  };

  const reconcile = () => void inTurn(step);
  const retryLater = () => {
    clearTimeout(retry);
    if (wanted) retry = setTimeout(reconcile, RETRY_MS * (0.5 + Math.random()));
  };

  async function step(): Promise<void> {
    clearTimeout(retry);
    const { model } = connection;
    if (!wanted || current || !model) return;
    let channel: Channel | undefined;
    let closed = false;
    let givenUp = false;
    const opening = async () => {
      const fresh = (channel = await openChannel(model.createChannel()));
      if (givenUp) {
        // By now another one may be open, and nobody would ever close the consumer of this one.
        await closeChannel(fresh);
        throw new Error('the channel opened too late');
      }
      fresh.once('close', () => {
        closed = true;
        if (current?.channel !== fresh) return;
        current = undefined;
        retryLater();
      });
      return { channel: fresh, session: await open(fresh, model) };
    };
    try {
      const opened = await withDeadline(opening(), OPEN_TIMEOUT_MS, 'the broker does not answer');
      if (closed) throw new Error('the broker closed the channel');
      current = opened;
      faults.mended();
    } catch (error) {
      givenUp = true;
      if (channel) await closeChannel(channel);
      // A lost connection has told so itself, and comes back through onUp.
      if (connection.model !== model) return;
      faults.fault(toReason(error));
      retryLater();
    }
  }

  const release = () => {
    wanted = false;
    clearTimeout(retry);
    return inTurn(() => {
      const session = current?.session;
      current = undefined;
      return session;
    });
  };

  const stopListening = connection.onUp(reconcile);
  reconcile();

  return {
    want() {
      wanted = true;
      reconcile();
    },
    release,
    stop() {
      stopListening();
      return release();
    },
  };
}

const RETRY_MS = 1_000;
const OPEN_TIMEOUT_MS = 5_000;

export type KeptChannel<Session> = {
  want(): void;
  /** Opens no more and hands the open session over: its channel is the caller's to close. */
  release(): Promise<Session | undefined>;
  /** The same, for good. */
  stop(): Promise<Session | undefined>;
};
