import { renderFatal } from '../platform/lifecycle.ts';
import { migrate, type DatabaseName } from '../prisma/migrate.ts';
import { readMigrateConfig } from './config.ts';
import { createDatabase, createWorkerLogin } from './databases.ts';

/**
 * `npm run db:migrate`: makes the three databases where there are none, brings them up to date, and gives the workers their login. Safe to
 * run while services run, and more than once at a time.
 */
try {
  const { databases, workerUrl } = readMigrateConfig();
  for (const [name, databaseUrl] of Object.entries(databases) as [DatabaseName, string][]) {
    const isNew = await createDatabase(databaseUrl);
    const applied = await migrate(name, databaseUrl);
    const made = isNew ? 'created, ' : '';
    console.log(`${name}: ${applied.length === 0 ? `${made}up to date` : `${made}applied ${applied.join(', ')}`}`);
  }
  if (workerUrl !== null)
    console.log(`workers: log in as ${await createWorkerLogin(databases.notification, workerUrl)}`);
} catch (error) {
  console.error(renderFatal(error));
  process.exitCode = 1;
}
// Prisma's engine leaves the timer of its lock behind, which would hold this process for 10 s.
process.exit();
