import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** No start takes that long. An older lock is left over, even where its process id lives again, as ids do in containers. */
const STALE_MS = 60_000;

/**
 * Lends a data folder to one start at a time, until its PostgreSQL is up and guards it: of two first starts side by side, each
 * would make secrets and a database, and keep the ones of the other.
 * @throws Error when another start is under way
 */
export async function withStartLock<T>(dataDir: string, work: () => Promise<T>): Promise<T> {
  const file = join(dataDir, 'starting.pid');
  if (!(await take(file)) && !(await takeOver(file))) {
    throw new Error(`Herald is being started on ${dataDir} already: set DATA_DIR to start another beside it`);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

const take = (file: string): Promise<boolean> =>
  writeFile(file, String(process.pid), { flag: 'wx', mode: 0o600 }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false;
      throw error;
    },
  );

/** From one that is left over. False when it is held, or when another start was quicker. */
async function takeOver(file: string): Promise<boolean> {
  if (await isHeld(file)) return false;
  await rm(file, { force: true });
  return take(file);
}

async function isHeld(file: string): Promise<boolean> {
  const [text, info] = await Promise.all([readFile(file, 'utf8'), stat(file)]).catch(() => ['', null] as const);
  if (info === null || Date.now() - info.mtimeMs > STALE_MS || Number(text) === process.pid) return false;
  try {
    // A file that is still empty counts as held: its holder is about to write its number.
    return process.kill(Number(text), 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
