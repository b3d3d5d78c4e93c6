import { setTimeout as sleep } from 'node:timers/promises';
import type { ConsumeMessage } from 'smqp';
import type { BrokerLog, Consumer, IncomingMessage, MessageHandler } from './broker.ts';

/** Pulls from a queue whenever the broker wakes it, with at most `concurrency` handlers at a time. */
export function createConsumer({
  take,
  queue,
  concurrency,
  handler,
  wake,
  log,
  onStop,
}: ConsumerParts): EmbeddedConsumer {
  let intent: 'run' | 'pause' | 'stop' = 'run';
  let running = 0;
  const stopped = new AbortController();
  const idle = Promise.withResolvers<void>();

  async function run(message: ConsumeMessage): Promise<void> {
    running++;
    queue.taken++;
    let verdict: 'ack' | 'requeue' = 'requeue';
    try {
      verdict = await handler(toIncoming(message));
    } catch (error) {
      log.error(
        { err: error, messageId: toIncoming(message).messageId },
        'a message handler failed: the message goes back to the queue',
      );
      await sleep(REQUEUE_DELAY_MS, undefined, { signal: stopped.signal }).catch(() => {});
    }
    if (verdict === 'ack') message.ack();
    else message.nack(false, true);
    running--;
    queue.taken--;
    if (intent === 'stop' && running === 0) idle.resolve();
    wake();
  }

  return {
    takeOne() {
      if (intent !== 'run' || running >= concurrency) return false;
      const message = take();
      if (message) void run(message);
      return message !== undefined;
    },
    async pause() {
      if (intent === 'run') intent = 'pause';
    },
    async resume() {
      if (intent === 'pause') intent = 'run';
      wake();
    },
    async stop() {
      intent = 'stop';
      stopped.abort();
      onStop();
      if (running > 0) await idle.promise;
    },
  };
}

export function toIncoming({ content, fields }: ConsumeMessage): IncomingMessage {
  const held: unknown = content;
  if (!isContent(held)) throw new TypeError('a message that did not come from this broker');
  const { headers = {}, ...message } = held;
  return { ...message, headers, key: fields.routingKey ?? '', redelivered: fields.redelivered ?? false };
}

export const isContent = (value: unknown): value is Content =>
  typeof value === 'object' && value !== null && 'body' in value && value.body instanceof Buffer;

const REQUEUE_DELAY_MS = 1_000;

/** What the embedded broker puts into smqp's messages. */
export type Content = {
  body: Buffer;
  messageId?: string;
  correlationId?: string;
  headers?: Record<string, string>;
};

/** `names` from the lowest level to the highest; `taken`: handed to a consumer and not settled. */
export type LevelledQueue = { names: string[]; taken: number };

/** `takeOne` starts a handler if there is a message and a free place. */
export type EmbeddedConsumer = Consumer & { takeOne(): boolean };

type ConsumerParts = {
  take: () => ConsumeMessage | undefined;
  queue: LevelledQueue;
  concurrency: number;
  handler: MessageHandler;
  wake: () => void;
  log: BrokerLog;
  onStop: () => void;
};
