import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import { noSuchNotification } from './cancel-notification.ts';
import { maySee } from './may-see.ts';
import { applyChanges, changeOf, lockNotifications, type LockedRow } from './outcomes.ts';

/** How many one call takes, in transactions of 100. */
export const REPLAY_LIMIT = 1_000;
const BATCH = 100;

export type Replayed = {
  replayed: string[];
  refused: { notificationId: string; code: ReplayRefusal }[];
  lastDueAt: Date | null;
};
export type ReplayRefusal = 'NOT_FAILED' | 'CONTENT_GONE' | 'EXPIRED';

/**
 * Sends failed notifications again, each as a new run. The rate cap needs no process that paces: the nth is simply due later.
 * Preference, suppression and address are checked when it is sent, as in every run.
 * @param perSecond how many become due in a second
 */
export async function replayNotifications(
  pool: Pool,
  ids: string[],
  perSecond: number,
  reason: string | null,
  viewer: Viewer,
): Promise<Replayed> {
  const result: Replayed = { replayed: [], refused: [], lastDueAt: null };
  for (let from = 0; from < ids.length; from += BATCH) {
    await withTransaction(pool, async (client) => {
      const rows = await lockNotifications(client, ids.slice(from, from + BATCH));
      const visible = [...rows.values()].filter((row) => maySee(viewer, row));
      const refused = visible.flatMap((row) => {
        const code = refusalOf(row);
        return code === null ? [] : [{ notificationId: row.id, code }];
      });
      const fit = visible.filter((row) => refusalOf(row) === null);
      const changes = fit.map((row, place) => ({
        ...changeOf(row),
        status: 'pending' as const,
        event: 'REPLAYED' as const,
        by: viewer.id,
        why: reason,
        delayMs: ((result.replayed.length + place) / perSecond) * 1_000,
      }));
      if (changes.length > 0) await applyChanges(client, changes);
      result.refused.push(...refused);
      result.replayed.push(...fit.map((row) => row.id));
      const last = changes.at(-1);
      if (last !== undefined && fit[0] !== undefined) result.lastDueAt = new Date(fit[0].now.getTime() + last.delayMs);
    });
  }
  return result;
}

/** Replays one, now. */
export async function replayNotification(
  pool: Pool,
  id: string,
  reason: string | null,
  viewer: Viewer,
): Promise<{ kind: 'replayed' } | Refusal> {
  if (!isUuid(id)) return noSuchNotification;
  const { replayed, refused } = await replayNotifications(pool, [id.toLowerCase()], 1, reason, viewer);
  if (replayed.length > 0) return { kind: 'replayed' };
  const code = refused[0]?.code;
  return code === undefined
    ? noSuchNotification
    : refuse('CONFLICT', `id can't be sent again: ${WHY[code]}`, 'id', code);
}

const refusalOf = (row: LockedRow): ReplayRefusal | null => {
  if (row.status !== 'failed') return 'NOT_FAILED';
  if (!row.hasContent) return 'CONTENT_GONE';
  return row.expiresAt !== null && row.expiresAt <= row.now ? 'EXPIRED' : null;
};

const WHY = {
  NOT_FAILED: 'it has not failed',
  CONTENT_GONE: 'its content is no longer kept',
  EXPIRED: 'its expiresAt has passed',
} as const satisfies Record<ReplayRefusal, string>;
