import { join } from 'node:path';
import { startAll, Started, stopWithin, untilAborted } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import { toRing } from '../platform/secret-ring.ts';
import { migrate } from '../prisma/migrate.ts';
import type { EmbeddedConfig } from './config.ts';
import { ensureDatabase, startPostgres, type Postgres } from './postgres.ts';
import { preflight } from './preflight.ts';
import { readSecrets } from './secrets.ts';
import { startServices } from './services.ts';
import { withStartLock } from './start-lock.ts';
import { createStopDeadline } from './stop-deadline.ts';

/** Says what is being done, and when it is done. */
export type Progress = <T>(name: string, work: Promise<T>) => Promise<T>;

/** Of the time for a stop, what the services leave to PostgreSQL. */
const POSTGRES_STOP_MS = 1_000;

const DATABASES = { user: 'users_db', template: 'templates_db', notification: 'notifications_db' } as const;

/**
 * Starts all of Herald in this process: a real PostgreSQL beside it, broker and cache in memory, a mailbox.
 * The gateway opens last, when the whole job works. Stopping takes 4.5 s at most, from the signal where there is one.
 * @param createLog makes the logger of one service
 * @param signal gives up a start that is under way; what was started is stopped, and the signal's reason is thrown
 */
export const startEmbedded = (
  config: EmbeddedConfig,
  {
    progress,
    log,
    createLog,
    signal,
  }: {
    progress: Progress;
    log: (line: string) => void;
    createLog: (service: string) => Logger;
    signal?: AbortSignal;
  },
) =>
  startAll(async (started) => {
    const { ports, dataDir } = config;
    const stop = createStopDeadline(signal);
    await preflight(config);
    const { secrets, postgres } = await withStartLock(dataDir, async () => {
      const kept = await readSecrets(dataDir);
      const starting = startPostgres({
        dataDir: join(dataDir, 'postgres'),
        port: ports.POSTGRES_PORT,
        password: kept.postgresPassword,
        log,
        signal,
        stopWithinMs: () => stop.leftMs(),
      });
      const server = await progress('PostgreSQL 18', starting);
      started.onStop('PostgreSQL', () => server.stop());
      return { secrets: kept, postgres: server };
    });
    const adminApiKey = config.adminApiKey ?? secrets.adminApiKey;
    signal?.throwIfAborted();
    await progress('databases and migrations', untilAborted(prepareDatabases(postgres, log), signal));
    signal?.throwIfAborted();

    const parts = new Started();
    started.onStop('the services', () =>
      stopWithin(
        parts,
        Math.max(0, stop.leftMs() - POSTGRES_STOP_MS),
        'what was in flight is taken up again at the next start',
      ),
    );
    const databaseUrlOf = (name: keyof typeof DATABASES) => postgres.urlOf(DATABASES[name]);
    const services = await startServices(parts, {
      config,
      secrets,
      adminApiKey,
      databaseUrlOf,
      progress,
      log,
      createLog,
      signal,
    });
    return { ...services, adminApiKey: toRing(adminApiKey)[0].secret, databaseUrlOf };
  });

async function prepareDatabases(postgres: Postgres, log: (line: string) => void): Promise<void> {
  await Promise.all(
    (['user', 'template', 'notification'] as const).map(async (name) => {
      await ensureDatabase(postgres, DATABASES[name]);
      await migrate(name, postgres.urlOf(DATABASES[name]), log);
    }),
  );
}
