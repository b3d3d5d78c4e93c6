import pg from 'pg';
import { inject } from 'vitest';
import type { Herald } from './start.ts';

/** Lends a connection to notifications_db for a transaction that holds locks. */
export async function withConnection<T>(herald: Herald, work: (connection: pg.Client) => Promise<T>): Promise<T> {
  const [row] = await herald.sql('notification', 'SELECT current_database() AS name');
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${row?.['name']}`;
  const connection = new pg.Client({ connectionString: url.href });
  await connection.connect();
  return work(connection).finally(() => connection.end());
}

/** Whether a statement with this text waits for a lock. */
export const isWaiting = async (herald: Herald, text: string): Promise<boolean> => {
  const waiting = `SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'`;
  return (await herald.sql('notification', waiting, [text])).length > 0;
};
