import pg from 'pg';
import type { Logger } from './logger.ts';

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

/**
 * Creates a connection pool that fails fast and survives the loss of any connection.
 * @param options.max connections
 */
export function createPool(connectionString: string, { max, log }: { max: number; log: Logger }): Pool {
  const pool = new pg.Pool({
    connectionString,
    max,
    connectionTimeoutMillis: 5_000,
    query_timeout: 15_000,
    // What nobody waits for any more must not go on in the server, and hold its locks.
    statement_timeout: 15_000,
    // A process that freezes inside a transaction must not hold its locks.
    idle_in_transaction_session_timeout: 15_000,
  });
  // Without a listener, an idle connection that PostgreSQL closes would end the process. The error holds the whole client, so
  // only its message is logged; and `pool.end()` resolves before the server has seen the goodbye.
  pool.on('error', ({ message }) => {
    if (!pool.ending) log.warn({ reason: message }, 'an idle PostgreSQL connection was lost');
  });
  return pool;
}

/** Runs work inside one transaction; rolls back when it throws. */
export async function withTransaction<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  // The pool listens to idle connections only; an error event that nobody hears ends the process. The query that fails says it.
  const ignore = () => {};
  client.on('error', ignore);
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    client.off('error', ignore);
    client.release();
    return result;
  } catch (error) {
    // A connection whose rollback fails is of no more use.
    const rollbackError = await client.query('ROLLBACK').then(
      () => undefined,
      (cause: Error) => cause,
    );
    client.off('error', ignore);
    client.release(rollbackError);
    throw error;
  }
}

/**
 * Whether an error says that PostgreSQL can't be reached, went away or takes too long, so that the statement's outcome is unknown;
 * not that it refused the statement.
 */
export function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (
    'code' in error &&
    typeof error.code === 'string' &&
    /^(08|57P|57014|53300|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN)/.test(error.code)
  )
    return true;
  return /Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect|Query read timeout/.test(
    error.message,
  );
}
