import type { Herald } from './start.ts';

/** A worker's steps, by the SQL functions that its role may call, for stories in which no worker runs. */

/** @returns the token of the lease, or undefined when there was nothing to claim */
export async function claim(herald: Herald, id: string, leaseSeconds = 60): Promise<number | undefined> {
  const [notification] = await herald.sql('notification', 'SELECT type FROM notification WHERE id = $1', [id]);
  const rows = await herald.sql('worker', 'SELECT token FROM claim_jobs($1, $2, $3)', [
    notification?.['type'],
    [id],
    leaseSeconds,
  ]);
  return rows[0]?.['token'];
}

/** @returns the attempt's number, or undefined when the claim is no longer the worker's, or nothing may be sent any more */
export async function startAttempt(
  herald: Herald,
  id: string,
  token: number,
  leaseSeconds = 60,
): Promise<number | undefined> {
  const starts = JSON.stringify([{ id, token, provider: 'smtp', ended: null }]);
  const rows = await herald.sql('worker', 'SELECT number FROM start_attempts($1, $2)', [starts, leaseSeconds]);
  return rows[0]?.['number'] ?? undefined;
}

/** A claim and its attempt. @returns the token */
export async function begin(herald: Herald, id: string, leaseSeconds = 60): Promise<number> {
  const token = await claim(herald, id, leaseSeconds);
  if (token === undefined) throw new Error(`${id} can't be claimed`);
  await startAttempt(herald, id, token, leaseSeconds);
  return token;
}

/** Lets the lease run out, as time would. */
export const expireLease = (herald: Herald, id: string) =>
  herald.sql('notification', `UPDATE notification SET lease_until = now() - interval '1 second' WHERE id = $1`, [id]);

/** Makes it due now and nobody's, so that the next worker can claim it. */
export const giveBack = (herald: Herald, id: string) =>
  herald.sql('notification', 'UPDATE notification SET lease_until = NULL, due_at = now() WHERE id = $1', [id]);
