import type { Pool, PoolClient } from '../../platform/postgres.ts';
import type { Trace } from '../../platform/trace.ts';

/** What the acceptance of a notification is known by in logs and traces; `trace` only while somebody traces. */
export type SendContext = { correlationId: string; trace: Trace | undefined };

/** By the notification's id; of those whose content is gone there is none. */
export async function readContexts(
  client: Pool | PoolClient,
  ids: readonly string[],
): Promise<ReadonlyMap<string, SendContext>> {
  const sorted = [...ids].sort();
  const { rows } = await client.query<{ id: string; correlationId: string; trace: string | null }>({
    name: 'read-contexts',
    text: `
      SELECT notification_id AS id, correlation_id AS "correlationId", trace FROM content
      WHERE notification_id = ANY ($1::uuid[]) AND notification_id BETWEEN $2 AND $3`,
    values: [sorted, sorted[0], sorted.at(-1)],
  });
  return new Map(
    rows.map(({ id, correlationId, trace }) => [
      id,
      { correlationId, trace: trace === null ? undefined : { traceparent: trace } },
    ]),
  );
}
