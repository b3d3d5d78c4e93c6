import { type FileHandle, open, readFile } from 'node:fs/promises';
import { type Account, ownerFor } from './account.ts';

/** The file that PostgreSQL writes to; `start` is where this run begins in it. */
export type ServerLog = { path: string; file: FileHandle; start: number };

const ERROR_LOG_LINES = 12;

/** Opens the log for appending, in the account's name: a later start by that user appends too. */
export async function openServerLog(path: string, account: Account): Promise<ServerLog> {
  const file = await open(path, 'a', 0o600);
  const owner = ownerFor(account);
  if (owner) await file.chown(owner.uid, owner.gid);
  return { path, file, start: (await file.stat()).size };
}

/** Tells why a start failed, by what this run wrote: a taken port or a wrong password in one line, anything else with the log's last lines. */
export async function explainFailure(error: unknown, port: number, { path, start }: ServerLog): Promise<Error> {
  const message = error instanceof Error ? error.message : String(error);
  const written = (await readFile(path)).subarray(start).toString().trimEnd();
  if (/could not bind .* address .*in use/i.test(written)) {
    return new Error(
      `Port ${port} is taken: stop the program that listens there, or set POSTGRES_PORT to another port.`,
      { cause: error },
    );
  }
  if (/password authentication failed/i.test(written)) {
    return new Error(
      'The database was created with another password: give that one, or remove the data folder to begin anew.',
      { cause: error },
    );
  }
  const lines = written.split('\n').slice(-ERROR_LOG_LINES);
  return new Error([`${message}. The end of ${path}:`, ...lines.map((line) => `  ${line}`)].join('\n'), {
    cause: error,
  });
}
