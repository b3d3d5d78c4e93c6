import { v4 as uuidv4 } from 'uuid';
import type { TopologyNames } from '../../contracts/topology.ts';
import type { Broker } from '../../platform/broker/broker.ts';
import type { Logger } from '../../platform/logger.ts';
import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { requeueUnclaimed } from './outbox.ts';

/**
 * Finds out whether the broker still holds what was published to it. PostgreSQL names a queue that was made in the broker;
 * when that queue is gone, so are the jobs, and everything published and unclaimed is published again.
 * @returns how many notifications were put back into the outbox; null when the broker has lost nothing
 */
export async function recoverFromWipe(
  pool: Pool,
  broker: Broker,
  names: TopologyNames,
  log: Logger,
): Promise<number | null> {
  return withTransaction(pool, async (client) => {
    await client.query('SELECT pg_advisory_xact_lock($1)', [MARK_LOCK]);
    const { rows } = await client.query<{ mark: string }>('SELECT mark FROM broker_mark');
    const mark = rows[0]?.mark;
    if (mark !== undefined && (await broker.queueExists(names.markQueue(mark)))) return null;

    // Without a mark there has been no broker before this one.
    const requeued = mark === undefined ? null : await requeueUnclaimed(client);
    const next = uuidv4();
    await broker.declareQueue(names.markQueue(next));
    await client.query(
      'INSERT INTO broker_mark (mark) VALUES ($1) ON CONFLICT (only_row) DO UPDATE SET mark = excluded.mark',
      [next],
    );
    if (requeued !== null && requeued > 0)
      log.warn({ requeued }, "the broker's data is gone: what was published and not yet claimed is published again");
    return requeued;
  });
}

/** Any constant; relays that connect together must not recover twice. */
const MARK_LOCK = 7_201_127;
