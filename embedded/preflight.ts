import { access, constants, mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { EmbeddedConfig } from './config.ts';

/** Everything that can be known to fail before anything is started: one clear line, and nothing half-done. */
export async function preflight({ host, ports, dataDir }: EmbeddedConfig): Promise<void> {
  assertDistinct(ports);
  await assertWritable(dataDir);
  for (const [variable, port] of Object.entries(ports)) {
    // A PostgreSQL that outlived a killed run may hold its port; that is for startPostgres to judge.
    if (variable !== 'POSTGRES_PORT') await assertFree(host, port, variable);
  }
}

function assertDistinct(ports: EmbeddedConfig['ports']): void {
  const seen = new Map<number, string>();
  for (const [variable, port] of Object.entries(ports)) {
    if (port === 0) throw new Error(`${variable} is 0: name a port, for the parts must find each other`);
    const other = seen.get(port);
    if (other !== undefined) throw new Error(`${variable} and ${other} are both ${port}: give each a port of its own`);
    seen.set(port, variable);
  }
}

async function assertWritable(dataDir: string): Promise<void> {
  try {
    // 1: where root has to start PostgreSQL as another user, that one must get to its folder. What is in here is closed by itself.
    await mkdir(dataDir, { recursive: true, mode: 0o711 });
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new Error(
      `the data folder ${dataDir} can't be written: make it writable for this user, or set DATA_DIR to a folder that is`,
      { cause: error },
    );
  }
}

const assertFree = (host: string, port: number, variable: string) =>
  new Promise<void>((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (cause: NodeJS.ErrnoException) => {
      const why =
        cause.code === 'EADDRINUSE'
          ? `is taken: stop what listens there (another Herald?)`
          : `can't be used (${cause.message}): check HOST`;
      reject(new Error(`port ${port} on ${host} ${why}, or set ${variable} to a free port`, { cause }));
    });
    probe.listen({ host, port }, () => probe.close(() => resolve()));
  });
