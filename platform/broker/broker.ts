import type { Log } from '../log-on-change.ts';

/**
 * The broker port: what Herald needs of AMQP 0-9-1, and no more. Two adapters implement it, `rabbitmq.ts` (amqplib) and
 * `embedded.ts` (smqp, in process); tests/broker-contract.test.ts runs the same suite over both.
 *
 * A broker object lives as long as its process. It connects in the background, reconnects by itself, declares the
 * topology anew on every connection and restarts its consumers. Nobody has to wait for it to be up.
 */
export interface Broker {
  readonly state: BrokerState;
  /** Calls back on each change of state; returns the function that stops that. */
  onStateChange(listener: (state: BrokerState) => void): () => void;
  /**
   * Publishes persistently, mandatory, and waits for the broker's confirm.
   * `unroutable`: the broker has it no more, no queue is bound to the key.
   * Rejects with BrokerUnavailable when there is no connection, when the broker is known to be blocked, or when the
   * confirm doesn't come (5 s, or the connection ends): then the message may or may not be in the queue.
   */
  publish(publication: Publication): Promise<'confirmed' | 'unroutable'>;
  /** Publishes without confirm and not persistent; dropped silently when the broker is away, blocked or far behind. */
  announce(exchange: string, key: string, body: Buffer): void;
  /** Takes messages from a queue, at most `concurrency` at a time, until stopped. */
  consume(queue: string, options: { concurrency: number }, handler: MessageHandler): Consumer;
  /**
   * Listens with a server-named exclusive queue (at most `maxLength` messages, oldest dropped) on a topic exchange.
   * `onGap` is called each time the queue is a new one (first connect included): messages may have passed unseen.
   */
  listen(options: ListenOptions, handler: (message: IncomingMessage) => void): Listener;
  /** Messages ready in a queue. Rejects with BrokerUnavailable, for a queue that doesn't exist too. */
  depth(queue: string): Promise<number>;
  /** Whether a queue exists, by passive declare. Rejects with BrokerUnavailable. */
  queueExists(queue: string): Promise<boolean>;
  /** Declares a durable queue without binding. Rejects with BrokerUnavailable. */
  declareQueue(queue: string): Promise<void>;
  /** Stops consumers (work in flight is finished and acked), then closes the connections. */
  stop(): Promise<void>;
}

/** `blocked`: connected, but the broker takes no publishes (memory or disk alarm). RabbitMQ tells so at the next publish only. */
export type BrokerState = 'connecting' | 'up' | 'blocked' | 'stopped';

export type Publication = {
  exchange: string;
  key: string;
  body: Buffer;
  /** 1 low … 3 high, see Topology.queues.levels. */
  level?: number;
  messageId?: string;
  correlationId?: string;
  /** Text about the message that is no part of it, names in lower case. */
  headers?: Record<string, string>;
};

export type IncomingMessage = {
  body: Buffer;
  key: string;
  messageId?: string;
  correlationId?: string;
  headers: Record<string, string>;
  redelivered: boolean;
};

/** `ack`: done, gone. `requeue`: give it back to the queue. A handler that throws is logged and its message requeued after 1 s. */
export type MessageHandler = (message: IncomingMessage) => Promise<'ack' | 'requeue'>;

export interface Consumer {
  /**
   * Resolves when nothing more will start and unstarted messages are back in the queue. Running handlers finish and ack
   * afterwards; so a handler may pause its own consumer. Pausing twice is fine.
   */
  pause(): Promise<void>;
  /** Takes messages again, when the broker is there; handlers still running count against the concurrency. */
  resume(): Promise<void>;
  /** Takes no more, for good; waits until running handlers have finished and acked. */
  stop(): Promise<void>;
}

export interface Listener {
  stop(): Promise<void>;
}

export type ListenOptions = { exchange: string; pattern: string; maxLength: number; onGap: () => void };

/** What must exist in the broker; declared on every connection. */
export type Topology = {
  exchanges: { name: string; type: 'direct' | 'topic' }[];
  queues: {
    name: string;
    exchange: string;
    key: string;
    /** Number of priority levels (`x-max-priority` on classic queues); none: no priority. */
    levels?: number;
    /** Oldest dropped beyond this. */
    maxLength?: number;
  }[];
};

export type BrokerOptions = { topology: Topology; queueType: 'classic' | 'quorum'; log: BrokerLog };

export type BrokerLog = Log;

/** The broker can't be asked now; what was in flight has an unknown outcome. */
export class BrokerUnavailable extends Error {
  override name = 'BrokerUnavailable';
  readonly code = 'BROKER_UNAVAILABLE';
}
