import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { isConnectionLost } from '../platform/postgres.ts';

/** So long a server may take to start. */
const START_MS = 30_000;
const TRY_AGAIN_MS = 500;

/** Does the work when the server of the URL can be reached, for which it waits, and says so once. The work must bear a repetition. */
export async function onceReachable<Result>(
  url: string,
  work: () => Promise<Result>,
  tell: (line: string) => void,
): Promise<Result> {
  const { host } = new URL(url);
  const deadline = Date.now() + START_MS;
  for (let tries = 0; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (!isConnectionLost(error) || Date.now() > deadline) throw error;
      const reason = error instanceof Error && error.message !== '' ? error.message : codeOf(error);
      if (tries === 0) tell(`waits up to ${START_MS / 1_000} s for PostgreSQL at ${host}: ${reason}`);
      await wait(TRY_AGAIN_MS);
    }
  }
}

/** Creates the database that a URL names, if its server has none of that name. @returns whether it did */
export async function createDatabase(url: string): Promise<boolean> {
  const wanted = new pg.Client({ connectionString: url });
  try {
    await wanted.connect();
    return false;
  } catch (error) {
    if (codeOf(error) !== NO_SUCH_DATABASE) throw error;
  } finally {
    await wanted.end().catch(() => {});
  }
  const server = new URL(url);
  const name = decodeURIComponent(server.pathname.slice(1));
  server.pathname = '/postgres';
  return withClient(server.href, async (client) => {
    try {
      await client.query(`CREATE DATABASE ${client.escapeIdentifier(name)}`);
      return true;
    } catch (error) {
      // Another migration was quicker.
      if ([DATABASE_EXISTS, UNIQUE_VIOLATION].includes(codeOf(error))) return false;
      throw error;
    }
  });
}

/**
 * Gives the workers a login of their own, which may do what the role herald_worker may and nothing else; a password that differs is changed.
 * @param url of notifications_db, for its owner
 * @param workerUrl the same database, as the workers name it
 */
export async function createWorkerLogin(url: string, workerUrl: string): Promise<string> {
  const { username, password } = new URL(workerUrl);
  const [login, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
  if (login === '' || secret === '') throw new Error('WORKER_DATABASE_URL must have a user and a password');
  if (login === decodeURIComponent(new URL(url).username) || login === WORKER_ROLE)
    throw new Error(`WORKER_DATABASE_URL must name a login of the workers' own, not ${login}`);
  return withClient(url, async (client) => {
    await client.query('BEGIN');
    // Two at a time would both find none.
    await client.query('SELECT pg_advisory_xact_lock($1)', [LOGIN_LOCK]);
    const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [login]);
    const [name, literal] = [client.escapeIdentifier(login), client.escapeLiteral(secret)];
    await client.query(`${rowCount === 0 ? 'CREATE' : 'ALTER'} ROLE ${name} LOGIN PASSWORD ${literal}`);
    await client.query(`GRANT ${WORKER_ROLE} TO ${name}`);
    await client.query('COMMIT');
    return login;
  });
}

/** Ends every cursor of before, for a database that may have lost numbers which it has given. @param url of notifications_db */
export const beginEpoch = (url: string): Promise<unknown> =>
  withClient(url, (client) => client.query('UPDATE feed_state SET epoch = gen_random_uuid()'));

const WORKER_ROLE = 'herald_worker';
const LOGIN_LOCK = 7_201_126;
const NO_SUCH_DATABASE = '3D000';
const DATABASE_EXISTS = '42P04';
const UNIQUE_VIOLATION = '23505';

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '');

async function withClient<Result>(url: string, work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
