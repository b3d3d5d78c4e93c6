import { connect, type Channel, type ChannelModel } from 'amqplib';
import { withDeadline } from '../lifecycle.ts';
import { toReason, type FaultLog } from '../log-on-change.ts';

/**
 * Keeps one connection to RabbitMQ up, for ever: amqplib's recovery with jittered delays of 0.2 to 5 s.
 * @param setup runs on each fresh connection before it counts as up; when it fails, the connection is tried anew
 * @param onChange called when `model` or `blocked` changes
 */
export function openConnection(url: string, { name, setup, onChange, faults }: ConnectionOptions): Connection {
  let model: ChannelModel | undefined;
  let blocked = false;
  const upListeners = new Set<() => void>();

  const opened = connect(withHeartbeat(url), {
    noDelay: true,
    timeout: CONNECT_TIMEOUT_MS,
    clientProperties: { connection_name: name },
    recovery: {
      initialDelay: 200,
      maxDelay: 5_000,
      jitter: 0.5,
      waitForConnect: false,
      async setup(fresh: ChannelModel) {
        let lost: Error | undefined;
        // Until setup is done recovery listens to nothing, and an 'error' event without a listener ends the process.
        fresh.on('error', () => {});
        fresh.on('close', (error?: Error) => (lost = error ?? new Error('connection closed')));
        await setup(fresh);
        if (lost) throw lost;
      },
    },
  }).then((recovering) => {
    recovering.on('connect', (fresh) => {
      model = fresh;
      blocked = false;
      onChange();
      for (const listener of upListeners) listener();
    });
    recovering.on('disconnect', (error) => {
      model = undefined;
      blocked = false;
      faults.fault(toReason(error));
      onChange();
    });
    recovering.on('connect-failed', (error) => faults.fault(toMend(toReason(error))));
    recovering.on('blocked', () => {
      blocked = true;
      onChange();
    });
    recovering.on('unblocked', () => {
      blocked = false;
      onChange();
    });
    // What happened is told by 'disconnect', which follows.
    recovering.on('error', () => {});
    return recovering;
  });

  return {
    get model() {
      return model;
    },
    get blocked() {
      return blocked;
    },
    onUp(listener) {
      upListeners.add(listener);
      return () => void upListeners.delete(listener);
    },
    reconnect() {
      model?.close().catch(() => {});
    },
    async stop() {
      model = undefined;
      upListeners.clear();
      const recovering = await opened;
      // A frozen broker never answers the close; the socket goes with the process then.
      await withDeadline(recovering.close(), CLOSE_TIMEOUT_MS, 'no answer').catch(() => {});
    },
  };
}

/** Opens a channel that can't end the process: its errors also reach the call they belong to, or come with its close. */
export async function openChannel<C extends Channel>(opening: Promise<C>): Promise<C> {
  const channel = await opening;
  channel.on('error', () => {});
  channel.on('handler-error', () => {});
  return channel;
}

/** Lends a channel for calls that may close it (a declare that doesn't fit, a queue that isn't there). */
export async function withChannel<T>(model: ChannelModel, work: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await openChannel(model.createChannel());
  try {
    return await work(channel);
  } finally {
    await closeChannel(channel);
  }
}

/** Closes a channel; fine when it is closed already. amqplib's own promise stays open for ever when the connection ends meanwhile. */
export async function closeChannel(channel: Channel): Promise<void> {
  const closed = new Promise<void>((resolve) => channel.once('close', resolve));
  try {
    await withDeadline(Promise.race([channel.close(), closed]), CLOSE_TIMEOUT_MS, 'no answer');
  } catch {
    // Closed by the server or with its connection, or the broker is frozen.
  }
}

/** The AMQP reply code of a failed call, for example 404 or 406. */
export const toReplyCode = (error: unknown): number | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'number' ? error.code : undefined;

function withHeartbeat(url: string): string {
  if (!URL.canParse(url)) return url;
  const parsed = new URL(url);
  if (!parsed.searchParams.has('heartbeat')) parsed.searchParams.set('heartbeat', String(HEARTBEAT_SECONDS));
  return parsed.href;
}

/** amqplib's handshake errors carry their code in the text only, and a refused virtual host (530) not even there. */
function toMend(reason: string): string {
  if (reason.includes('403 (ACCESS-REFUSED)'))
    return `the broker refuses the user or the password of the broker URL (${reason})`;
  if (reason.includes('Expected ConnectionOpenOk; got <ConnectionClose')) {
    return 'the virtual host of the broker URL does not exist, or the user may not use it';
  }
  return reason;
}

const HEARTBEAT_SECONDS = 10;
const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 3_000;

export type Connection = {
  /** The connection as it is now, none while it is away. Gone for ever when it changes. */
  readonly model: ChannelModel | undefined;
  /** The broker takes no publishes from it (memory or disk alarm). */
  readonly blocked: boolean;
  /** Calls back on each connect, the topology being declared; returns the function that stops that. */
  onUp(listener: () => void): () => void;
  /** Drops the connection and makes a new one. */
  reconnect(): void;
  stop(): Promise<void>;
};

type ConnectionOptions = {
  name: string;
  setup: (fresh: ChannelModel) => Promise<void>;
  onChange: () => void;
  faults: FaultLog;
};
