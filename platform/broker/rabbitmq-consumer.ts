import { setTimeout as sleep } from 'node:timers/promises';
import { IllegalOperationError, type Channel, type ConsumeMessage } from 'amqplib';
import { withDeadline } from '../lifecycle.ts';
import type { FaultLog } from '../log-on-change.ts';
import type { BrokerLog, Consumer, IncomingMessage, MessageHandler } from './broker.ts';
import { closeChannel, type Connection } from './rabbitmq-connection.ts';
import { keepChannel } from './rabbitmq-kept-channel.ts';
import type { Declare } from './rabbitmq-topology.ts';

/**
 * Consumes from a queue over all reconnects. Prefetch is the concurrency; the count of running handlers spans the
 * sessions, for handlers of a lost connection may still run when its messages come again on the next one.
 */
export function createConsumer(
  connection: Connection,
  { queue, concurrency, handler, declare, faults, log }: ConsumerOptions,
): Consumer {
  let intent: 'run' | 'pause' | 'stop' = 'run';
  let running = 0;
  let waiting: Delivery[] = [];
  const sessions = new Set<Session>();

  const kept = keepChannel<Session>(connection, {
    faults,
    async open(channel, model) {
      // The queue may be gone: that is why a server cancels a consumer.
      await declare(model);
      await channel.prefetch(concurrency);
      const session: Session = {
        channel,
        open: true,
        inFlight: 0,
        ended: new AbortController(),
        done: Promise.withResolvers(),
      };
      sessions.add(session);
      channel.once('close', () => abandon(session));
      const { consumerTag } = await channel.consume(queue, (message) => {
        if (message) receive({ session, message });
        else void renew();
      });
      session.consumerTag = consumerTag;
      return session;
    },
  });

  function receive(delivery: Delivery): void {
    if (delivery.session.ended.signal.aborted) return settle(delivery, 'requeue');
    waiting.push(delivery);
    startWaiting();
  }

  function startWaiting(): void {
    while (running < concurrency) {
      const delivery = waiting.shift();
      if (!delivery) return;
      void run(delivery);
    }
  }

  async function run(delivery: Delivery): Promise<void> {
    const { session, message } = delivery;
    running++;
    session.inFlight++;
    try {
      settle(delivery, await handler(toIncoming(message)));
    } catch (error) {
      log.error(
        { err: error, queue, messageId: toIncoming(message).messageId },
        'a message handler failed: the message goes back to the queue',
      );
      await sleep(REQUEUE_DELAY_MS, undefined, { signal: session.ended.signal }).catch(() => {});
      settle(delivery, 'requeue');
    }
    running--;
    session.inFlight--;
    closeWhenIdle(session);
    startWaiting();
  }

  /** Stops deliveries, gives back what has not started, and closes the channel after the last running handler. */
  async function end(session: Session): Promise<void> {
    if (session.consumerTag !== undefined && session.open) await cancel(session.channel, session.consumerTag);
    session.ended.abort();
    const unstarted = waiting.filter((delivery) => delivery.session === session);
    waiting = waiting.filter((delivery) => delivery.session !== session);
    for (const delivery of unstarted) settle(delivery, 'requeue');
    closeWhenIdle(session);
  }

  function closeWhenIdle(session: Session): void {
    if (!session.ended.signal.aborted || session.inFlight > 0) return;
    void closeChannel(session.channel).then(() => {
      sessions.delete(session);
      session.done.resolve();
    });
  }

  /** The channel is closed: the broker gives its messages to others, and an ack on another channel would hit a stranger. */
  function abandon(session: Session): void {
    session.open = false;
    waiting = waiting.filter((delivery) => delivery.session !== session);
    session.ended.abort();
    closeWhenIdle(session);
  }

  /** The server cancelled the consumer (its queue was deleted, its node went away). */
  async function renew(): Promise<void> {
    faults.fault('the broker cancelled the consumer');
    await detach();
    if (intent === 'run') kept.want();
  }

  async function detach(): Promise<void> {
    const session = await kept.release();
    if (session) await end(session);
  }

  return {
    async pause() {
      if (intent === 'stop') return;
      intent = 'pause';
      await detach();
    },
    async resume() {
      if (intent === 'stop') return;
      intent = 'run';
      kept.want();
    },
    async stop() {
      intent = 'stop';
      const session = await kept.stop();
      if (session) await end(session);
      await Promise.all([...sessions].map(({ done }) => done.promise));
    },
  };
}

/** Exactly once per delivery, on the channel that delivered it. */
function settle({ session, message }: Delivery, verdict: 'ack' | 'requeue'): void {
  if (!session.open) return;
  try {
    if (verdict === 'ack') session.channel.ack(message);
    else session.channel.nack(message, false, true);
  } catch (error) {
    // Closing: the broker gives the message to somebody anew.
    if (!(error instanceof IllegalOperationError)) throw error;
  }
}

async function cancel(channel: Channel, consumerTag: string): Promise<void> {
  try {
    await withDeadline(channel.cancel(consumerTag), CANCEL_TIMEOUT_MS, 'no answer');
  } catch {
    // Closed meanwhile, which cancels as well; or the broker is frozen and delivers nothing.
  }
}

export const toIncoming = ({ content, fields, properties }: ConsumeMessage): IncomingMessage => ({
  body: content,
  key: fields.routingKey,
  messageId: toText(properties.messageId),
  correlationId: toText(properties.correlationId),
  headers: Object.fromEntries(
    Object.entries(properties.headers ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  ),
  redelivered: fields.redelivered,
});

const toText = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

const REQUEUE_DELAY_MS = 1_000;
const CANCEL_TIMEOUT_MS = 3_000;

type Session = {
  channel: Channel;
  consumerTag?: string;
  open: boolean;
  inFlight: number;
  /** Aborted: nothing more is started from it. */
  ended: AbortController;
  done: PromiseWithResolvers<void>;
};

type Delivery = { session: Session; message: ConsumeMessage };

type ConsumerOptions = {
  queue: string;
  concurrency: number;
  handler: MessageHandler;
  declare: Declare;
  faults: FaultLog;
  log: BrokerLog;
};
