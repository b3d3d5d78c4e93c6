import { parseArgs } from 'node:util';
import { renderFatal } from '../platform/lifecycle.ts';
import { migrate, type DatabaseName } from '../prisma/migrate.ts';
import { readMigrateConfig } from './config.ts';
import { beginEpoch, createDatabase, createWorkerLogin, onceReachable } from './databases.ts';

/**
 * `npm run db:migrate`: makes the three databases where there are none, brings them up to date, and gives the workers their login. Safe to
 * run while services run, and more than once at a time. `--restored` (`npm run db:restored`): they come from a backup.
 */
try {
  const { values } = parseArgs({ options: { restored: { type: 'boolean', default: false } } });
  const { databases, workerUrl } = readMigrateConfig();
  for (const [name, databaseUrl] of Object.entries(databases) as [DatabaseName, string][]) {
    const tell = (line: string) => console.error(`${name}: ${line}`);
    const isNew = await onceReachable(databaseUrl, () => createDatabase(databaseUrl), tell);
    const applied = await migrate(name, databaseUrl, tell);
    const made = isNew ? 'created, ' : '';
    console.log(`${name}: ${applied.length === 0 ? `${made}up to date` : `${made}applied ${applied.join(', ')}`}`);
  }
  if (values.restored) {
    await beginEpoch(databases.notification);
    console.log('notification: a new epoch of the feed, cursors of before have expired');
  }
  if (workerUrl !== null)
    console.log(`workers: log in as ${await createWorkerLogin(databases.notification, workerUrl)}`);
} catch (error) {
  console.error(renderFatal(error));
  process.exitCode = 1;
}
// Prisma's engine leaves the timer of its lock behind, which would hold this process for 10 s.
process.exit();
