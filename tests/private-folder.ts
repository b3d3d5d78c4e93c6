import { spawn } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holdPipe, killGroup } from './private-process.ts';

/**
 * Makes a temporary folder that goes with this process, however it ends: a shell waits for the pipe to break, stops a
 * PostgreSQL that has its data in `data` below it, and removes the folder.
 */
export async function makeFolder(name: string): Promise<PrivateFolder> {
  const path = await mkdtemp(join(tmpdir(), `herald-${name}-`));
  // PostgreSQL may run as another user than the tests.
  await chmod(path, 0o711);
  const janitor = spawn('/bin/sh', ['-c', REMOVE_WHEN_ORPHANED, 'sh', path], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  holdPipe(janitor);
  return {
    path,
    async remove() {
      if (janitor.pid !== undefined) killGroup(janitor.pid);
      await rm(path, { recursive: true, force: true });
    },
  };
}

const REMOVE_WHEN_ORPHANED = `
read -r _ <&3
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
sleep 1
rm -rf "$1"`;

export type PrivateFolder = { path: string; remove(): Promise<void> };
