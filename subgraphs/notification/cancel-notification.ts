import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import { applyChanges, changeOf, lockNotifications } from './outcomes.ts';
import { maySee } from './may-see.ts';

/**
 * Cancels a notification that no worker has claimed. @returns whether it came in time: then nothing was sent or will be
 * @param reason the caller's words, for the timeline
 */
export async function cancelNotification(
  pool: Pool,
  id: string,
  reason: string | null,
  viewer: Viewer,
): Promise<{ cancelled: boolean } | Refusal> {
  if (!isUuid(id)) return noSuchNotification;
  return withTransaction(pool, async (client) => {
    const row = (await lockNotifications(client, [id])).get(id.toLowerCase());
    if (row === undefined || !maySee(viewer, row)) return noSuchNotification;
    // With a lease, even one that ran out, a worker may have sent it.
    if (row.status !== 'pending' || row.isLeased || row.isExpired)
      return { cancelled: row.status === 'failed' && row.reason === 'CANCELLED' };
    await applyChanges(client, [
      { ...changeOf(row), status: 'failed', reason: 'CANCELLED', event: 'CANCELLED', by: viewer.id, why: reason },
    ]);
    return { cancelled: true };
  });
}

export const noSuchNotification = refuse('NOT_FOUND', 'id: there is no such notification', 'id', 'NOT_FOUND');
