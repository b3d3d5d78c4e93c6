import { renderFatal } from '../platform/lifecycle.ts';
import { migrate, type DatabaseName } from '../prisma/migrate.ts';
import { readConfig } from './config.ts';

/** `npm run db:migrate`: brings the three databases up to date. Safe to run while services run, and more than once at a time. */
try {
  for (const [name, databaseUrl] of Object.entries(readConfig()) as [DatabaseName, string][]) {
    const applied = await migrate(name, databaseUrl);
    console.log(`${name}: ${applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`}`);
  }
} catch (error) {
  console.error(renderFatal(error));
  process.exitCode = 1;
}
// Prisma's engine leaves the timer of its lock behind, which would hold this process for 10 s.
process.exit();
