import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { unavailable, type Refusal } from '../../platform/refusal.ts';
import { sayGoodbye } from './say-goodbye.ts';

/** Server-sent events on one answer (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export type EventStream = {
  /** Resolves when it has left, so a slow reader holds back what it reads; false when nobody reads any more. */
  send(message: { event?: string; id?: string; data: string }): Promise<boolean>;
  /** Ends the answer; what was sent still arrives. */
  end(): void;
};

/** All answers that stream now. */
export type EventStreams = {
  /** Why no other one is taken now; null when it is. */
  admit(): Refusal | null;
  /** @param onClose is called once, when it was ended or its reader has left; at once when the reader left before */
  open(reply: FastifyReply, onClose: () => void): EventStream;
  count(): number;
  /** Takes no more, and ends all within the time, a few at a time. */
  drain(withinMs: number): Promise<void>;
  stop(): void;
};

/** Whoever asks may be gone while it is found out who they are: then at once. */
export function whenClosed(raw: ServerResponse, act: () => void): void {
  if (raw.closed) act();
  else raw.once('close', act);
}

export function createEventStreams(max: number): EventStreams {
  const open = new Map<EventStream, (text: string) => void>();
  let isDraining = false;
  // Proxies end what is silent for long; and a reader that is gone is noticed by writing to it.
  const heartbeat = setInterval(() => {
    for (const write of open.values()) write(':\n\n');
  }, HEARTBEAT_MS);

  return {
    count: () => open.size,
    admit() {
      if (isDraining) return unavailable('Herald is stopping: come back in a moment', 5);
      return open.size < max ? null : unavailable('too many connections', 5);
    },
    open(reply, onClose) {
      reply.hijack();
      const { raw } = reply;
      for (const [name, value] of Object.entries({ ...reply.getHeaders(), ...STREAM_HEADERS }))
        if (value !== undefined) raw.setHeader(name, value);
      raw.writeHead(200);
      const stream: EventStream = {
        send: ({ event, id, data }) =>
          new Promise((resolve) => {
            if (!raw.writable || raw.destroyed) return resolve(false);
            const text = `${event === undefined ? '' : `event: ${event}\n`}${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`;
            raw.once('close', giveUp);
            raw.write(text, (error) => {
              raw.off('close', giveUp);
              resolve(!error);
            });
            function giveUp() {
              resolve(false);
            }
          }),
        end() {
          if (raw.writableEnded || raw.destroyed) return;
          raw.end();
          const cut = setTimeout(() => raw.destroy(), GOODBYE_MS);
          raw.once('close', () => clearTimeout(cut));
        },
      };
      open.set(stream, (text) => raw.writableLength === 0 && raw.write(text));
      raw.on('error', () => raw.destroy());
      whenClosed(raw, () => {
        open.delete(stream);
        onClose();
      });
      // Some browsers show the headers only when something follows them.
      raw.write(':\n\n');
      // Who was let in just before the last goodbye was said.
      if (isDraining) stream.end();
      return stream;
    },
    async drain(withinMs) {
      isDraining = true;
      await sayGoodbye([...open.keys()], withinMs, (stream) => stream.end());
    },
    stop: () => clearInterval(heartbeat),
  };
}

const STREAM_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  // nginx would hold events back.
  'x-accel-buffering': 'no',
};

/** What a reader gets to read what was sent. */
const GOODBYE_MS = 30_000;
const HEARTBEAT_MS = 10_000;
