// Makes node_modules of a finished installation small: takes out what runs nothing here. For images: `node scripts/slim.mjs` after the
// development packages are pruned.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Prisma's query compilers of databases that are not ours. */
const OTHER_DATABASES = /^query_compiler_.*\.(mysql|sqlite|sqlserver|cockroachdb)\./;
/** For editors and debuggers. */
const NOT_RUN = /\.(map|d\.ts|d\.cts|d\.mts|md|markdown)$/i;

for (const entry of readdirSync('node_modules', { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const isOther = OTHER_DATABASES.test(entry.name) && entry.parentPath.endsWith('@prisma/client/runtime');
  if (isOther || NOT_RUN.test(entry.name)) rmSync(join(entry.parentPath, entry.name));
}
