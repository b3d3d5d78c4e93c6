import { withTransaction, type Pool, type PoolClient } from '../../platform/postgres.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import { noSuchNotification } from './cancel-notification.ts';
import { maySee } from './may-see.ts';
import { applyChanges, changeOf, lockNotifications, type LockedRow } from './outcomes.ts';

const BATCH = 100;

export type Replayed = {
  replayed: string[];
  refused: { notificationId: string; code: ReplayRefusal }[];
  lastDueAt: Date | null;
};
export type ReplayRefusal = 'NOT_FAILED' | 'CONTENT_GONE' | 'EXPIRED';

/**
 * Sends failed notifications again, each as a new run. The rate cap needs no process that paces: the nth is simply due later, and a
 * further call of the same viewer goes on behind the last one. Preference, suppression and address are checked when it is sent, as in
 * every run.
 * @param perSecond how many become due in a second; null: all at once
 */
export async function replayNotifications(
  pool: Pool,
  ids: string[],
  perSecond: number | null,
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
      const gapMs = perSecond === null ? 0 : 1_000 / perSecond;
      const startMs = gapMs === 0 ? 0 : await takeTurn(client, viewer, fit.length * gapMs);
      const changes = fit.map((row, place) => ({
        ...changeOf(row),
        status: 'pending' as const,
        event: 'REPLAYED' as const,
        by: viewer.id,
        why: reason,
        delayMs: startMs + place * gapMs,
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

/** Takes the next so many milliseconds of a viewer's replays. @returns when they begin, in milliseconds from now */
async function takeTurn(client: PoolClient, viewer: Viewer, lengthMs: number): Promise<number> {
  const { rows } = await client.query<{ start: number }>(
    `INSERT INTO replay_pace AS pace (viewer_id, next_at) VALUES ($1, now() + $2 * interval '1 millisecond')
     ON CONFLICT (viewer_id) DO UPDATE SET next_at = greatest(pace.next_at, now()) + $2 * interval '1 millisecond'
     RETURNING extract(epoch FROM next_at - now())::float * 1000 - $2 AS start`,
    [viewer.id, lengthMs],
  );
  return Math.ceil(rows[0]?.start ?? 0);
}

/** Replays one, now. */
export async function replayNotification(
  pool: Pool,
  id: string,
  reason: string | null,
  viewer: Viewer,
): Promise<{ kind: 'replayed' } | Refusal> {
  if (!isUuid(id)) return noSuchNotification;
  const { replayed, refused } = await replayNotifications(pool, [id.toLowerCase()], null, reason, viewer);
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
