import type { NotificationType } from '../../contracts/jobs.ts';
import type { Pool } from '../../platform/postgres.ts';

/** What stands in the way of a send to a user, as a worker would find it now. */
export type Obstacles = {
  /** The user was deleted; nothing is accepted for them. */
  isErased: boolean;
  /** Of the user, or of the user and the template. */
  suppression: SuppressionWords | null;
  /** Of the given targets those that nothing is sent to. */
  unreachable: { id: string; why: 'suppressed' | 'dead'; suppression: SuppressionWords | null }[];
};

/** What the list says of a suppression; who suppressed it and why is null for those who may not know. */
export type SuppressionWords = { reason: string | null; createdBy: string | null; createdAt: Date };

/** A mailbox by its address, or a device by its token. */
export type TargetKey = { id: string; address: string } | { id: string; token: string };

/** One statement; what is suppressed or dead is decided by the function that the workers ask. */
export async function findObstacles(
  pool: Pool,
  {
    type,
    userId,
    templateCode,
    targets,
  }: { type: NotificationType; userId: string; templateCode: string; targets: TargetKey[] },
): Promise<Obstacles> {
  const { rows } = await pool.query<{
    isErased: boolean;
    suppression: SuppressionInJson | null;
    unreachable: Found[] | null;
  }>({
    name: 'find-obstacles',
    text: `
      SELECT EXISTS (SELECT FROM erased_user WHERE user_id = $2) AS "isErased",
        (SELECT ${WORDS} FROM suppression s
         WHERE s.type = $1 AND s.user_id = $2 AND (s.template_code IS NULL OR s.template_code = $3)
         ORDER BY s.created_at LIMIT 1) AS suppression,
        (SELECT json_agg(json_build_object('id', u.id, 'why', u.why, 'suppression', (
           SELECT ${WORDS} FROM json_to_recordset($4) AS t (id TEXT, token TEXT, address TEXT)
             JOIN suppression s ON s.type = $1 AND s.address = coalesce(t.token, lower(t.address))
           WHERE t.id = u.id LIMIT 1)))
         FROM json_to_recordset(unreachable_targets($1, $4)) AS u (id TEXT, why TEXT)) AS unreachable`,
    values: [type, userId, templateCode, JSON.stringify(targets)],
  });
  const [row] = rows;
  if (row === undefined) throw new Error('a statement without FROM gave no row');
  return {
    isErased: row.isErased,
    suppression: toWords(row.suppression),
    unreachable: (row.unreachable ?? []).map((found) => ({ ...found, suppression: toWords(found.suppression) })),
  };
}

/** As JSON, of a suppression `s`. */
export const WORDS = `json_build_object('reason', s.reason, 'createdBy', s.created_by, 'createdAt', s.created_at)`;

export type SuppressionInJson = Omit<SuppressionWords, 'createdAt'> & { createdAt: string };
type Found = Omit<Obstacles['unreachable'][number], 'suppression'> & { suppression: SuppressionInJson | null };

export const toWords = (said: SuppressionInJson | null): SuppressionWords | null =>
  said === null ? null : { ...said, createdAt: new Date(said.createdAt) };
