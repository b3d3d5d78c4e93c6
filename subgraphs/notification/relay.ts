import { toJobBody } from '../../contracts/jobs.ts';
import { PUBLISHED_AT } from '../../contracts/stages.ts';
import { toLevel, type QueueKey, type TopologyNames } from '../../contracts/topology.ts';
import { BrokerUnavailable, type Broker } from '../../platform/broker/broker.ts';
import type { Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import { withTransaction, type Pool, type PoolClient } from '../../platform/postgres.ts';
import type { Tracer } from '../../platform/tracing.ts';
import type { Counters } from './counters.ts';
import { recoverFromWipe } from './broker-mark.ts';
import { createLowWater } from './low-water.ts';
import { readContexts, type SendContext } from './contexts.ts';
import { deletePublished, lockDue, postpone, readDeadLetters, type OutboxRow } from './outbox.ts';

const BATCH = 100;
const POLL_MIN_MS = 20;
const POLL_MAX_MS = 250;
/** After a batch that the broker did not take. */
const POSTPONE_MS = 5_000;
const ERROR_PAUSE_MS = 1_000;

export type Relay = Running & {
  /** Looks at once: rows of this key were committed. */
  wake(key: QueueKey): void;
};

type RelayDependencies = {
  pool: Pool;
  broker: Broker;
  names: TopologyNames;
  queueDepthMax: number;
  counters: Counters;
  tracer: Tracer;
  log: Logger;
};

/**
 * Starts moving due outbox rows to the broker, one loop for each queue. Any number of relays may run side by side.
 * A row leaves the outbox in the transaction that holds its lock, after the broker's confirm: a crash in between publishes it
 * again, and the second job finds nothing to claim.
 */
export function startRelay(deps: RelayDependencies): Relay {
  const { broker, pool, names, log } = deps;
  const stopping = new AbortController();
  const keys: QueueKey[] = ['email', 'push', 'failed'];
  const alarms = new Map(keys.map((key) => [key, createAlarm(stopping.signal)]));

  // Each new connection may be to a broker that lost its data.
  let checked: Promise<unknown> | null = null;
  const unsubscribe = broker.onStateChange((state) => {
    if (state === 'connecting') checked = null;
  });
  const checkMark = () =>
    (checked ??= recoverFromWipe(pool, broker, names, log)
      .then((requeued) => {
        if (requeued === null) return;
        deps.counters.brokerWipes.inc();
        deps.counters.requeued.inc({ case: 'wiped' }, requeued);
      })
      .catch((error: unknown) => {
        checked = null;
        throw error;
      }));

  const loops = keys.map(async (key) => {
    const queue = createPump(key, deps);
    let pauseMs = POLL_MIN_MS;
    while (!stopping.signal.aborted) {
      let moved = 0;
      if (broker.state === 'up') {
        try {
          await checkMark();
          moved = await queue.pump();
        } catch (error) {
          if (!stopping.signal.aborted && !(error instanceof BrokerUnavailable))
            log.error({ err: error, key }, 'the relay could not move rows; it goes on trying');
          await alarms.get(key)?.wait(ERROR_PAUSE_MS, { ignoreWake: true });
        }
      }
      if (moved === BATCH) continue;
      pauseMs = moved > 0 ? POLL_MIN_MS : Math.min(pauseMs * 2, POLL_MAX_MS);
      await alarms.get(key)?.wait(pauseMs);
    }
  });

  return {
    wake: (key) => alarms.get(key)?.wake(),
    async stop() {
      unsubscribe();
      stopping.abort();
      await Promise.all(loops);
    },
  };
}

/** Moves one batch at a time; keeps the queue short, so that the backlog waits where priority and cancel still work. */
function createPump(key: QueueKey, { pool, broker, names, queueDepthMax, counters, tracer, log }: RelayDependencies) {
  /** How many may be published before the queue's depth is asked for again. */
  let room = 0;
  const lowWater = createLowWater();

  const publish = async (client: PoolClient, rows: OutboxRow[], contexts: ReadonlyMap<string, SendContext>) => {
    const letters =
      key === 'failed'
        ? await readDeadLetters(
            client,
            rows.map((row) => row.notificationId),
          )
        : null;
    return Promise.allSettled(
      rows.map(async (row) => {
        const { trace: parent, correlationId } = contexts.get(row.notificationId) ?? {};
        const attributes = { 'herald.notification_id': row.notificationId };
        const span = parent && tracer.start(`publish ${key}`, { kind: 'producer', parent, attributes });
        const published = broker.publish({
          exchange: names.direct,
          key,
          level: toLevel(row.priority),
          messageId: row.notificationId,
          ...(correlationId !== undefined && { correlationId }),
          headers: { [PUBLISHED_AT]: String(Date.now()), ...span?.trace },
          body:
            letters === null
              ? toJobBody({ notificationId: row.notificationId })
              : Buffer.from(JSON.stringify(letters.get(row.notificationId) ?? { notificationId: row.notificationId })),
        });
        void published.then(
          (outcome) => span?.end(outcome === 'confirmed' ? undefined : outcome),
          (error: unknown) => span?.end(String(error)),
        );
        return published;
      }),
    );
  };

  return {
    /** @returns how many rows left the outbox */
    pump: () =>
      withTransaction(pool, async (client) => {
        const due = await lockDue(client, key, BATCH, lowWater.next(Date.now()));
        lowWater.note(due, BATCH, Date.now());
        if (due.length === 0) return 0;
        const wanted = due.filter((row) => row.isWanted);
        const unwanted = due.filter((row) => !row.isWanted);
        if (key !== 'failed' && room < wanted.length) room = queueDepthMax - (await broker.depth(names.queues[key]));
        const rows = key === 'failed' ? wanted : wanted.slice(0, Math.max(0, room));
        if (rows.length + unwanted.length === 0) return 0;

        const contexts = await readContexts(
          client,
          rows.map((row) => row.notificationId),
        );
        const results = await publish(client, rows, contexts);
        room -= rows.length;
        const outcomes = results.map((result) => (result.status === 'fulfilled' ? result.value : 'unconfirmed'));
        const confirmed = rows.filter((_, index) => outcomes[index] === 'confirmed');
        const others = rows.filter((row) => !confirmed.includes(row));
        for (const { dueAt, notificationId } of confirmed) {
          const correlationId = contexts.get(notificationId)?.correlationId;
          log.info({ notificationId, correlationId, key }, 'job published');
          counters.published.inc({ key });
          if (key !== 'failed')
            counters.stages.observe({ stage: 'publish', type: key }, Math.max(0, Date.now() - dueAt.getTime()) / 1_000);
        }
        for (const outcome of outcomes) if (outcome !== 'confirmed') counters.unpublished.inc({ key, case: outcome });
        const done = [...confirmed, ...unwanted];
        if (done.length > 0) await deletePublished(client, key, done);
        if (others.length > 0) {
          log.warn(
            { key, rows: others.length },
            'the broker did not take these jobs; they stay in the outbox and go again in 5 s',
          );
          await postpone(client, others, POSTPONE_MS);
        }
        return done.length;
      }),
  };
}

/** A wait that ends after a time, on `wake`, or when the process stops. A wake during work is not forgotten. */
function createAlarm(signal: AbortSignal) {
  let rung = false;
  let end: (() => void) | null = null;
  signal.addEventListener('abort', () => end?.());
  return {
    wake() {
      rung = true;
      end?.();
    },
    async wait(ms: number, { ignoreWake = false } = {}): Promise<void> {
      if (signal.aborted || (rung && !ignoreWake)) {
        rung = false;
        return;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        end = () => {
          if (ignoreWake && !signal.aborted) return;
          clearTimeout(timer);
          resolve();
        };
      });
      end = null;
      rung = false;
    },
  };
}
