import { readFile } from 'node:fs/promises';
import { builtinModules, stripTypeScriptTypes } from 'node:module';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const ENTRIES = [
  'gateway/main.ts',
  'subgraphs/user/main.ts',
  'subgraphs/template/main.ts',
  'subgraphs/notification/main.ts',
  'workers/main.ts',
  'cli/doctor.ts',
  'cli/migrate.ts',
];

test.each(ENTRIES)('%s needs no development package', async (entry) => {
  const { dependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const { files, packages } = await findImports(pathToFileURL(join(root, entry)));
  expect(files.size).toBeGreaterThan(5);
  expect(packages.size).toBeGreaterThan(2);
  expect([...packages].filter((name) => !(name in dependencies))).toEqual([]);
  const rooms = new Set([...files].map((file) => relative(root, new URL(file).pathname).split('/')[0]));
  for (const room of ['embedded', 'tests', 'bench', 'client']) expect(rooms).not.toContain(room);
});

/** All that is loaded with a file of ours: files of ours, and the packages that these ask for. */
async function findImports(entry: URL): Promise<{ files: Set<string>; packages: Set<string> }> {
  const files = new Set<string>();
  const packages = new Set<string>();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (files.has(file.href)) continue;
    files.add(file.href);
    for (const specifier of specifiersOf(await readFile(file, 'utf8'))) {
      if (specifier.startsWith('.')) waiting.push(new URL(specifier, file));
      else if (!isBuiltin(specifier)) packages.add(packageOf(specifier));
    }
  }
  return { files, packages };
}

/** Of what is left when the types are stripped, as Node does it. */
const specifiersOf = (source: string): string[] =>
  [...stripTypeScriptTypes(source).matchAll(IMPORT)].flatMap(({ 1: specifier }) => specifier ?? []);

const IMPORT = /^\s*(?:(?:import|export)\b[^'"`;]*?\bfrom|import|.*?\bimport\()\s*['"]([^'"]+)['"]/gm;

const isBuiltin = (specifier: string) => specifier.startsWith('node:') || builtinModules.includes(specifier);

/** `@apollo/server/errors` -> `@apollo/server` */
const packageOf = (specifier: string) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
