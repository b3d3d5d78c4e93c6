import { execFile, type SpawnOptions } from 'node:child_process';
import { lchown, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Binaries } from './binaries.ts';

/**
 * Who PostgreSQL runs as: it refuses root.
 * `self` is the ordinary user who started us; `namespace` is root in a user namespace, where it carries another id; `drop` gives up root.
 */
export type Account = { kind: 'self' } | { kind: 'namespace'; id: number } | { kind: 'drop'; uid: number; gid: number };

const FIRST_USER = 1000;
const NOBODY = 65534;

/**
 * Chooses the first account that can enter the data folder's parent and run the binaries.
 * As root: the data's own ordinary owner (or a later start by that user would fail), a user namespace, whoever owns the
 * folder or the binaries (root in a namespace can't enter what only another user may), nobody.
 * @throws Error that says what to do when there is none
 */
export async function chooseAccount(dataDir: string, binaries: Binaries): Promise<Account> {
  const dataOwner = await ownerOf(dataDir);
  const ourUid = process.getuid?.();
  if (ourUid !== 0) {
    if (dataOwner && ourUid !== undefined && dataOwner.uid !== ourUid) {
      throw new Error(
        `${dataDir} belongs to another user (id ${dataOwner.uid}): run "sudo chown -R ${ourUid} ${dataDir}", or remove it to begin anew.`,
      );
    }
    return { kind: 'self' };
  }
  const candidates: Account[] = [
    ...toDrop(dataOwner),
    ...(process.platform === 'linux' ? [FIRST_USER, NOBODY].map((id) => ({ kind: 'namespace', id }) as const) : []),
    ...toDrop(await ownerOf(dirname(dataDir))),
    ...toDrop(await ownerOf(binaries.postgres)),
    { kind: 'drop', uid: NOBODY, gid: NOBODY },
  ];
  for (const account of candidates) {
    if (await canRun(account, binaries.postgres, dirname(dataDir), { needsName: !dataOwner })) return account;
  }
  throw new Error(
    `PostgreSQL refuses to run as root, and no other user may enter ${dirname(dataDir)} and ${dirname(binaries.postgres)}: ` +
      'run this as an ordinary user, or move the checkout to a folder that others may enter.',
  );
}

/** The command, arguments and spawn options that run a binary as the account. The process id is the binary's own in every case. */
export function asAccount(
  account: Account,
  binary: string,
  args: string[],
): { command: string; commandArgs: string[]; options: SpawnOptions } {
  // LC_ALL: messages in English whatever the user's shell says, and macOS refuses a wrong one. cwd: ours may be closed to the account
  // eslint-disable-next-line no-restricted-properties -- passed on whole, nothing is read from it
  const options = { env: { ...process.env, LC_ALL: 'C' }, cwd: '/' };
  switch (account.kind) {
    case 'self':
      return { command: binary, commandArgs: args, options };
    case 'namespace':
      return {
        command: 'unshare',
        commandArgs: ['--user', `--map-user=${account.id}`, `--map-group=${account.id}`, binary, ...args],
        options,
      };
    case 'drop':
      return { command: binary, commandArgs: args, options: { ...options, uid: account.uid, gid: account.gid } };
    default:
      return account satisfies never;
  }
}

/** The owner that files must have for the account; undefined when they have it anyway. */
export function ownerFor(account: Account): Owner | undefined {
  switch (account.kind) {
    case 'self':
      return undefined;
    case 'namespace':
      return { uid: 0, gid: 0 };
    case 'drop':
      return { uid: account.uid, gid: account.gid };
    default:
      return account satisfies never;
  }
}

/** Gives a folder to the account unless it has it. The folder itself comes last: it marks the work as complete. */
export async function handOver(folder: string, account: Account): Promise<void> {
  const owner = ownerFor(account);
  if (!owner || (await ownerOf(folder))?.uid === owner.uid) return;
  for (const entry of await readdir(folder, { recursive: true }))
    await lchown(join(folder, entry), owner.uid, owner.gid);
  await lchown(folder, owner.uid, owner.gid);
}

const toDrop = (owner: Owner | undefined): Account[] => (owner && owner.uid !== 0 ? [{ kind: 'drop', ...owner }] : []);

async function ownerOf(path: string): Promise<Owner | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found && { uid: found.uid, gid: found.gid };
}

/**
 * False also where `unshare` is missing or user namespaces are forbidden.
 * @param needsName initdb, unlike the server, wants an id that the system has a name for; small images have none for 1000
 */
async function canRun(
  account: Account,
  binary: string,
  folder: string,
  { needsName }: { needsName: boolean },
): Promise<boolean> {
  const probe = `"$0" --version && test -x "$1"${needsName ? ' && id -un' : ''}`;
  const { command, commandArgs, options } = asAccount(account, 'sh', ['-c', probe, binary, folder]);
  return promisify(execFile)(command, commandArgs, { ...options, encoding: 'utf8' }).then(
    () => true,
    () => false,
  );
}

type Owner = { uid: number; gid: number };
