import { Gauge } from 'prom-client';
import type { TopologyNames } from '../../contracts/topology.ts';
import type { Broker } from '../../platform/broker/broker.ts';
import type { Logger } from '../../platform/logger.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { Pool } from '../../platform/postgres.ts';

/** How many messages lie in each queue, asked when the metrics are read. While the broker is away they have no value. */
export function createQueueGauge(metrics: Metrics, { broker, names }: { broker: Broker; names: TopologyNames }): void {
  new Gauge({
    name: 'herald_queue_messages',
    help: 'Messages that are ready in a queue of the broker',
    labelNames: ['queue'],
    registers: [metrics],
    async collect() {
      for (const queue of ['email', 'push', 'failed'] as const) {
        const depth = await broker.depth(names.queues[queue]).catch(() => null);
        if (depth === null) this.remove({ queue });
        else this.set({ queue }, depth);
      }
    },
  });
}

/** What waits in notifications_db, asked when the metrics are read, once for all. With PostgreSQL away they have no value. */
export function createGauges(metrics: Metrics, { pool, log }: { pool: Pool; log: Logger }): void {
  let reading: Promise<Backlog | undefined> | null = null;
  const read = () =>
    (reading ??= readBacklog(pool)
      .catch((error: unknown) => {
        log.warn({ err: error }, 'the backlog could not be read for the metrics');
        return undefined;
      })
      .finally(() => (reading = null)));
  for (const { key, name, help } of GAUGES) {
    const gauge = new Gauge({
      name,
      help,
      registers: [metrics],
      async collect() {
        const value = (await read())?.[key];
        if (value === undefined) gauge.remove();
        else gauge.set(value);
      },
    });
  }
}

const GAUGES = [
  { key: 'outbox', name: 'herald_outbox_rows', help: 'Jobs to be published, now or later; beyond 10,000 an estimate' },
  {
    key: 'oldestSeconds',
    name: 'herald_outbox_oldest_due_seconds',
    help: 'For how long the oldest due job has waited to be published; 0 for none',
  },
  {
    key: 'pending',
    name: 'herald_pending_notifications',
    help: 'Notifications that have not ended; beyond 10,000 an estimate',
  },
  { key: 'feedHead', name: 'herald_feed_head', help: 'The number of the newest event of the feed' },
  {
    key: 'unnumbered',
    name: 'herald_feed_unnumbered_rows',
    help: 'Status changes that no number was given yet; beyond 10,000 no more are counted',
  },
] as const;

async function readBacklog(pool: Pool): Promise<Backlog | undefined> {
  const { rows } = await pool.query<Backlog>(BACKLOG);
  return rows[0];
}

type Backlog = { outbox: number; oldestSeconds: number; pending: number; feedHead: number; unnumbered: number };

/** Counts by index up to a bound, so that a deep backlog, when these matter most, costs nothing. */
const BACKLOG = `
  WITH counted AS (
    SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT 10000) AS bounded) AS outbox,
      (SELECT count(*) FROM (SELECT FROM notification WHERE status = 'pending' LIMIT 10000) AS bounded) AS pending),
  estimated AS (
    SELECT coalesce(sum(reltuples) FILTER (WHERE relname = 'outbox'), 0) AS outbox,
      coalesce(sum(reltuples) FILTER (WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'notification_pending'::regclass)), 0) AS pending
    FROM pg_class WHERE reltuples > 0)
  SELECT CASE WHEN c.outbox < 10000 THEN c.outbox ELSE greatest(c.outbox, e.outbox) END::float AS outbox,
    CASE WHEN c.pending < 10000 THEN c.pending ELSE greatest(c.pending, e.pending) END::float AS pending,
    coalesce((
      SELECT extract(epoch FROM now() - min(first.due_at)) FROM (VALUES ('email'), ('push'), ('failed')) AS queue (key),
        generate_series(1, 10) AS level, LATERAL (
          SELECT due_at FROM outbox WHERE key = queue.key AND priority = level AND due_at <= now() ORDER BY due_at LIMIT 1) AS first
    ), 0)::float AS "oldestSeconds",
    (SELECT greatest((SELECT max(seq) FROM feed), floor)::float FROM feed_state) AS "feedHead",
    (SELECT count(*)::float FROM (SELECT FROM feed_in LIMIT 10000) AS bounded) AS unnumbered
  FROM counted c, estimated e`;
