import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { v7 as createId } from 'uuid';

const MAX_MAILS = 1_000;
const MAX_BYTES = 256 * 1024 * 1024;

/** A mail as it came in. Ids sort by time of arrival (UUID v7, RFC 9562). */
export type StoredMail = { id: string; created: Date; raw: Buffer };

export type MailStore = {
  /** Resolves with the mail's id once it is kept, on disk too where there is a folder. */
  add(raw: Buffer): Promise<string>;
  get(id: string): StoredMail | undefined;
  /** Newest first. */
  list(start: number, limit: number): StoredMail[];
  count(): number;
  /** Removes the mails with these ids, or all. */
  remove(ids?: string[]): Promise<void>;
};

/** Creates a store of the newest 1,000 mails (or 256 MiB of them), with those that the folder holds. */
export async function createMailStore({
  dataDir,
  log,
}: {
  dataDir: string | undefined;
  log: (line: string) => void;
}): Promise<MailStore> {
  let mails: StoredMail[] = []; // oldest first
  let bytes = 0;

  function insert(mail: StoredMail): void {
    // Mails that are written at the same time may finish in another order than they came
    mails.splice(mails.findLastIndex((other) => other.id < mail.id) + 1, 0, mail);
    bytes += mail.raw.length;
  }

  async function drop(isDropped: (mail: StoredMail) => boolean): Promise<void> {
    const dropped = mails.filter(isDropped);
    mails = mails.filter((mail) => !isDropped(mail));
    for (const mail of dropped) bytes -= mail.raw.length;
    if (dataDir) await Promise.all(dropped.map((mail) => rm(pathOf(dataDir, mail.id), { force: true })));
  }

  async function dropOldest(): Promise<void> {
    let keptBytes = bytes;
    let first = Math.max(0, mails.length - MAX_MAILS);
    for (const [index, { raw }] of mails.entries()) {
      if (index >= first && keptBytes <= MAX_BYTES) break;
      keptBytes -= raw.length;
      first = Math.max(first, index + 1);
    }
    if (first === 0) return;
    const dropped = new Set(mails.slice(0, first));
    await drop((mail) => dropped.has(mail));
  }

  if (dataDir) {
    for (const mail of await readMails(dataDir)) insert(mail);
    await dropOldest();
  }

  return {
    add: async (raw) => {
      const id = createId();
      if (dataDir) await writeWhole(pathOf(dataDir, id), raw);
      insert({ id, created: toDate(id), raw });
      // The new mail is kept whatever becomes of the old ones: an error here must not make its sender try again
      await dropOldest().catch((error: unknown) => log(`mailbox: could not remove old mails: ${String(error)}`));
      return id;
    },
    get: (id) => mails.find((mail) => mail.id === id),
    list: (start, limit) =>
      mails.slice(Math.max(0, mails.length - start - limit), Math.max(0, mails.length - start)).reverse(),
    count: () => mails.length,
    remove: (ids) => drop((mail) => !ids || ids.includes(mail.id)),
  };
}

const pathOf = (dataDir: string, id: string): string => join(dataDir, `${id}.eml`);

/** UUID v7 begins with 48 bits of milliseconds. */
const toDate = (id: string): Date => new Date(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16));

/** By a rename, so that a run that is killed midway leaves no half mail. */
async function writeWhole(path: string, content: Buffer): Promise<void> {
  await writeFile(`${path}.part`, content, { mode: 0o600 });
  await rename(`${path}.part`, path);
}

async function readMails(dataDir: string): Promise<StoredMail[]> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const names = (await readdir(dataDir)).sort();
  await Promise.all(
    names.filter((name) => name.endsWith('.eml.part')).map((name) => rm(join(dataDir, name), { force: true })),
  );
  const mails: StoredMail[] = [];
  for (const name of names) {
    const id = /^([0-9a-f-]{36})\.eml$/.exec(name)?.[1];
    if (id) mails.push({ id, created: toDate(id), raw: await readFile(join(dataDir, name)) });
  }
  return mails;
}
