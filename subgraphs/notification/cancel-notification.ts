import { isDeadLetter } from '../../contracts/failure-reason.ts';
import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { isRefusal, refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import { countOutcomes, type Counters } from './counters.ts';
import { givenUp } from './decide.ts';
import { applyChanges, changeOf, lockNotifications, type Change } from './outcomes.ts';
import { maySee } from './may-see.ts';

/**
 * Cancels a notification that no worker has claimed. @returns whether it came in time: then nothing was sent or will be. When nobody
 * knows what became of an attempt before, it is not tried again either, and ends as OUTCOME_UNKNOWN: too late for all we know.
 * @param reason the caller's words, for the timeline
 */
export async function cancelNotification(
  { pool, counters }: { pool: Pool; counters: Counters },
  id: string,
  reason: string | null,
  viewer: Viewer,
): Promise<{ cancelled: boolean } | Refusal> {
  if (!isUuid(id)) return noSuchNotification;
  const made = await withTransaction(pool, async (client) => {
    const row = (await lockNotifications(client, [id])).get(id.toLowerCase());
    if (row === undefined || !maySee(viewer, row)) return noSuchNotification;
    // With a lease, even one that ran out, a worker may have sent it.
    if (row.status !== 'pending' || row.isLeased || row.isExpired)
      return { cancelled: row.status === 'failed' && row.reason === 'CANCELLED', changes: [] };
    const end = givenUp(row, 'CANCELLED');
    const isLetter = isDeadLetter(end.reason);
    const changes: Change[] = [
      { ...changeOf(row), ...end, event: 'CANCELLED', by: viewer.id, why: reason, isDeadLetter: isLetter },
    ];
    await applyChanges(client, changes);
    return { cancelled: end.reason === 'CANCELLED', changes };
  });
  if (isRefusal(made)) return made;
  countOutcomes(counters, made.changes);
  return { cancelled: made.cancelled };
}

export const noSuchNotification = refuse('NOT_FOUND', 'id: there is no such notification', 'id', 'NOT_FOUND');
