import { IllegalOperationError, type Channel, type ChannelModel, type ConfirmChannel } from 'amqplib';
import { withDeadline } from '../lifecycle.ts';
import type { FaultLog } from '../log-on-change.ts';
import { BrokerUnavailable, type Publication } from './broker.ts';
import { openChannel, openConnection, type Connection } from './rabbitmq-connection.ts';
import type { Declare } from './rabbitmq-topology.ts';

/** The connection that publishes. In an alarm RabbitMQ reads nothing more from it, so nothing else may use it. */
export function createPublisher(url: string, { declare, onChange, faults }: PublisherOptions): Publisher {
  let lines: Lines | undefined;
  let sequence = 0;

  const connection = openConnection(url, {
    name: 'herald publish',
    faults,
    onChange,
    async setup(model) {
      await declare(model);
      lines = await openLines(model, () => {
        if (connection.model === model) connection.reconnect();
      });
    },
  });
  const openedLines = (): Lines | undefined =>
    lines !== undefined && lines.model === connection.model ? lines : undefined;

  const publish = ({
    exchange,
    key,
    body,
    level,
    messageId,
    correlationId,
    headers,
  }: Publication): Promise<'confirmed' | 'unroutable'> => {
    const open = openedLines();
    if (!open) return Promise.reject(new BrokerUnavailable('no connection to the broker'));
    // Sent now it would wait in the socket, be given up after the timeout, and arrive all the same.
    if (connection.blocked)
      return Promise.reject(new BrokerUnavailable('the broker takes no messages now (memory or disk alarm)'));
    const number = ++sequence;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new BrokerUnavailable(`no confirm within ${CONFIRM_TIMEOUT_MS} ms`));
      }, CONFIRM_TIMEOUT_MS);
      const options = {
        persistent: true,
        mandatory: true,
        priority: level,
        messageId,
        correlationId,
        headers: { ...headers, [SEQUENCE]: number },
      };
      try {
        open.confirms.publish(exchange, key, body, options, (error: unknown) => {
          clearTimeout(timer);
          if (error) reject(new BrokerUnavailable('not confirmed', { cause: error }));
          else resolve(open.returned.delete(number) ? 'unroutable' : 'confirmed');
        });
      } catch (error) {
        clearTimeout(timer);
        if (!(error instanceof IllegalOperationError)) throw error;
        reject(new BrokerUnavailable('the channel is closed', { cause: error }));
      }
    });
  };

  return {
    connection,
    publish,
    announce(exchange, key, body) {
      const open = openedLines();
      if (!open || connection.blocked || open.full) return;
      try {
        open.full = !open.announcements.publish(exchange, key, body);
      } catch (error) {
        if (!(error instanceof IllegalOperationError)) throw error;
      }
    },
    async stop() {
      const open = openedLines();
      if (open) await withDeadline(open.confirms.waitForConfirms(), CONFIRM_TIMEOUT_MS, 'no confirm').catch(() => {});
      await connection.stop();
    },
  };
}

async function openLines(model: ChannelModel, onLost: () => void): Promise<Lines> {
  const confirms = await openChannel(model.createConfirmChannel());
  const announcements = await openChannel(model.createChannel({ highWaterMark: ANNOUNCE_BUFFER_MESSAGES }));
  const lines: Lines = { model, confirms, announcements, returned: new Set(), full: false };
  // A return comes before the confirm of the same message.
  confirms.on('return', ({ properties }) => {
    const number: unknown = properties.headers?.[SEQUENCE];
    if (typeof number === 'number') lines.returned.add(number);
  });
  announcements.on('drain', () => {
    lines.full = false;
  });
  // The server closes a channel for a missing exchange: a fresh connection declares it.
  // Channels close before their connection does: look again a moment later.
  confirms.on('close', () => setImmediate(onLost));
  announcements.on('close', () => setImmediate(onLost));
  return lines;
}

const CONFIRM_TIMEOUT_MS = 5_000;
const ANNOUNCE_BUFFER_MESSAGES = 10_000;
/** Tells which publication was returned: message ids are the caller's and need not be unique. */
const SEQUENCE = 'x-sequence';

type Lines = {
  model: ChannelModel;
  confirms: ConfirmChannel;
  announcements: Channel;
  returned: Set<number>;
  full: boolean;
};

type PublisherOptions = { declare: Declare; onChange: () => void; faults: FaultLog };

export type Publisher = {
  connection: Connection;
  publish(publication: Publication): Promise<'confirmed' | 'unroutable'>;
  announce(exchange: string, key: string, body: Buffer): void;
  /** Waits for the confirms that are due, then closes. */
  stop(): Promise<void>;
};
