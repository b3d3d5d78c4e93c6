import { setTimeout as wait } from 'node:timers/promises';
import { FEED_KEY, type FeedMessage, type StatusEvent } from '../../contracts/events.ts';
import type { TopologyNames } from '../../contracts/topology.ts';
import type { Broker } from '../../platform/broker/broker.ts';
import type { Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import type { Pool } from '../../platform/postgres.ts';
import type { Tracer } from '../../platform/tracing.ts';
import { readContexts } from './contexts.ts';

const BATCH = 100;
const POLL_MS = 250;
const HEAD_EVERY_MS = 1_000;

export type FeedNumberer = Running & {
  /** Looks at once: status changes were committed. */
  wake(): void;
};

/**
 * Starts numbering status changes after their commit and publishing them. Any number of processes may; one at a time gets the
 * next numbers. What is published may be lost: readers notice by the numbers and ask for the range.
 */
export function startFeedNumberer({
  pool,
  broker,
  names,
  tracer,
  log,
}: {
  pool: Pool;
  broker: Broker;
  names: TopologyNames;
  tracer: Tracer;
  log: Logger;
}): FeedNumberer {
  let stopped = false;
  let alarm = new AbortController();
  let announcedAt = 0;

  const announce = (message: FeedMessage) => {
    announcedAt = Date.now();
    broker.announce(names.events, FEED_KEY, Buffer.from(JSON.stringify(message)));
  };

  /** Here every change comes by once, whoever made it: so here it is logged, and becomes a step of its notification's trace. */
  const tell = async (epoch: string, head: number, events: StatusEvent[]) => {
    // Nobody who watches waits for that, unless they watch the trace.
    if (!tracer.isOn) announce({ epoch, head, events });
    const contexts = await readContexts(
      pool,
      events.map(({ notificationId }) => notificationId),
    ).catch(() => new Map<string, never>());
    const traced = events.map((event): StatusEvent => {
      const { notificationId, requestId, type, status, previousStatus, reason, attempt } = event;
      const { correlationId, trace: parent } = contexts.get(notificationId) ?? {};
      const message = previousStatus === null ? 'notification accepted' : `notification ${status}`;
      log.info({ notificationId, requestId, correlationId, type, status, previousStatus, reason, attempt }, message);
      if (!tracer.isOn || parent === undefined) return event;
      const attributes = {
        'herald.notification_id': notificationId,
        ...(reason !== null && { 'herald.reason': reason }),
      };
      const span = tracer.start(`status ${status}`, { parent, attributes });
      span.end();
      return { ...event, ...(span.trace && { traceparent: span.trace.traceparent }) };
    });
    if (tracer.isOn) announce({ epoch, head, events: traced });
  };

  const loop = (async () => {
    while (!stopped) {
      try {
        const { epoch, events } = await numberEvents(pool, BATCH);
        const head = events.at(-1)?.seq;
        if (head !== undefined) await tell(epoch, head, events);
        else if (Date.now() - announcedAt >= HEAD_EVERY_MS) announce({ epoch, head: await readHead(pool), events: [] });
        if (events.length === BATCH) continue;
      } catch (error) {
        log.error({ err: error }, 'status changes could not be numbered; the next try follows');
      }
      await wait(POLL_MS, undefined, { signal: alarm.signal }).catch(() => {});
      if (alarm.signal.aborted) alarm = new AbortController();
    }
  })();

  return {
    wake: () => alarm.abort(),
    async stop() {
      stopped = true;
      alarm.abort();
      await loop;
    },
  };
}

/**
 * One statement is one transaction: numbers become visible in their order. The epoch is looked at with every one, because a database
 * may be restored or promoted under a running process.
 * @returns the events it numbered, in order, and the epoch of their numbers
 */
export async function numberEvents(pool: Pool, most: number): Promise<{ epoch: string; events: StatusEvent[] }> {
  const { rows } = await pool.query<{ epoch: string } & (EventRow | { seq: null })>({
    name: 'number-events',
    text: `
      SELECT state.epoch, event.*
      FROM check_feed_epoch() AS state (epoch) LEFT JOIN LATERAL (SELECT ${EVENT} FROM number_events($1) AS feed) AS event ON true
      ORDER BY seq`,
    values: [most],
  });
  return { epoch: rows[0]?.epoch ?? '', events: rows.flatMap((row) => (row.seq === null ? [] : [toEvent(row)])) };
}

async function readHead(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ head: string }>(
    'SELECT greatest((SELECT max(seq) FROM feed), floor) AS head FROM feed_state',
  );
  return Number(rows[0]?.head ?? 0);
}

/** The columns of an event. */
export const EVENT = `seq, notification_id AS "notificationId", version, type, user_id AS "userId", client_id AS "clientId",
  request_id AS "requestId", status, previous_status AS "previousStatus", reason, attempt, at`;

/** PostgreSQL's bigint comes as text. */
export type EventRow = Omit<StatusEvent, 'seq' | 'at'> & { seq: string; at: Date };

export const toEvent = (row: EventRow): StatusEvent => ({
  seq: Number(row.seq),
  notificationId: row.notificationId,
  version: row.version,
  type: row.type,
  userId: row.userId,
  clientId: row.clientId,
  requestId: row.requestId,
  status: row.status,
  previousStatus: row.previousStatus,
  reason: row.reason,
  attempt: row.attempt,
  at: row.at.toISOString(),
});
