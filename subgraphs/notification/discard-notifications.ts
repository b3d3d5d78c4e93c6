import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import { noSuchNotification } from './cancel-notification.ts';
import { maySee } from './may-see.ts';
import { applyChanges, changeOf, lockNotifications } from './outcomes.ts';

const BATCH = 100;

/** Ends failed notifications as DISCARDED, so that nobody need look at them any more. @returns the ids it ended */
export async function discardNotifications(
  pool: Pool,
  ids: string[],
  reason: string,
  viewer: Viewer,
): Promise<string[]> {
  const discarded: string[] = [];
  for (let from = 0; from < ids.length; from += BATCH) {
    await withTransaction(pool, async (client) => {
      const rows = await lockNotifications(client, ids.slice(from, from + BATCH));
      const fit = [...rows.values()].filter(
        (row) => maySee(viewer, row) && row.status === 'failed' && row.reason !== 'DISCARDED',
      );
      if (fit.length > 0) {
        await applyChanges(
          client,
          fit.map((row) => ({
            ...changeOf(row),
            status: 'failed',
            reason: 'DISCARDED',
            event: 'DISCARDED',
            by: viewer.id,
            why: reason,
          })),
        );
      }
      discarded.push(...fit.map((row) => row.id));
    });
  }
  return discarded;
}

/** Discards one. */
export async function discardNotification(
  pool: Pool,
  id: string,
  reason: string,
  viewer: Viewer,
): Promise<{ kind: 'discarded' } | Refusal> {
  if (!isUuid(id)) return noSuchNotification;
  const discarded = await discardNotifications(pool, [id.toLowerCase()], reason, viewer);
  if (discarded.length > 0) return { kind: 'discarded' };
  return withTransaction(pool, async (client) => {
    const row = (await lockNotifications(client, [id])).get(id.toLowerCase());
    if (row === undefined || !maySee(viewer, row)) return noSuchNotification;
    return refuse(
      'CONFLICT',
      `id can't be discarded: it is ${row.reason === 'DISCARDED' ? 'discarded already' : row.status}`,
      'id',
      'NOT_FAILED',
    );
  });
}
