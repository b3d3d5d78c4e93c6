import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import { dirname, join, relative, sep } from 'node:path';
import tseslint from 'typescript-eslint';

/** What each room may import of ours, besides itself. tests and bench are free, but for `startOnly`. */
const mayImport = {
  platform: [],
  contracts: [],
  prisma: [],
  client: [],
  rest: ['platform', 'contracts'],
  subgraphs: ['platform', 'contracts', 'rest'],
  'subgraphs/user': ['platform', 'contracts', 'prisma/user', 'subgraphs/serve'],
  'subgraphs/template': ['platform', 'contracts', 'prisma/template', 'subgraphs/serve', 'subgraphs/rendering'],
  'subgraphs/notification': ['platform', 'contracts', 'prisma/notification', 'subgraphs/serve', 'subgraphs/rendering'],
  workers: ['platform', 'contracts', 'prisma/notification'],
  gateway: ['platform', 'contracts', 'rest'],
  embedded: ['platform', 'contracts', 'prisma', 'client', 'gateway', 'subgraphs', 'workers'],
  // The doctor reads every program's configuration.
  cli: ['platform', 'contracts', 'client', 'prisma', 'gateway', 'subgraphs', 'workers'],
  examples: ['client'],
};

/** Rooms that start processes, and the processes: of those they may import `start…` functions and types, nothing else. */
const startOnly = { from: ['embedded', 'bench'], to: ['gateway', 'subgraphs', 'workers'] };

const importRule = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      room: '{{from}} must not import {{to}}: {{allowed}}.',
      start: '{{from}} may import only `start…` functions and types of {{to}}, each by its name.',
    },
  },
  create(context) {
    const from = roomOf(context.filename);
    const allowed = mayImport[from] ?? mayImport[from.split('/')[0]];
    const check = (node, imported = ['*']) => {
      const source = node.source?.value;
      if (typeof source !== 'string' || !source.startsWith('.')) return;
      const to = roomOf(join(dirname(context.filename), source));
      if (isInside(to, from)) return;
      if (allowed && !allowed.some((room) => isInside(to, room))) {
        const rooms = allowed.length > 0 ? `it may import ${allowed.join(', ')}` : 'it imports none of ours';
        context.report({ node, messageId: 'room', data: { from, to, allowed: rooms } });
      } else if (startOnly.from.includes(from) && startOnly.to.some((room) => isInside(to, room))) {
        if (!imported.every((name) => /^start[A-Z]/.test(name))) {
          context.report({ node, messageId: 'start', data: { from, to } });
        }
      }
    };
    return {
      ImportDeclaration: (node) => check(node, valuesOf(node)),
      ExportNamedDeclaration: (node) => check(node),
      ExportAllDeclaration: (node) => check(node),
      ImportExpression: (node) => check(node),
      TSImportType: (node) => check(node, []),
    };
  },
};

/** `/…/subgraphs/user/store.ts` -> `subgraphs/user`; `/…/prisma/migrate.ts` -> `prisma`; `/…/gateway/rest/table.ts` -> `gateway`. */
function roomOf(file) {
  const [room, ...rest] = relative(import.meta.dirname, file).split(sep);
  const hasRooms = room === 'subgraphs' || (room === 'prisma' && rest.length > 1);
  return hasRooms ? `${room}/${rest[0]?.replace(/\.ts$/, '')}` : room;
}

function isInside(room, outer) {
  return room === outer || room.startsWith(`${outer}/`);
}

/** The names that a declaration imports as values; for `* as x` and for a default there is none that would pass. */
function valuesOf(node) {
  if (node.importKind === 'type') return [];
  const values = node.specifiers.filter((specifier) => specifier.importKind !== 'type');
  return values.map((specifier) => specifier.imported?.name ?? '*');
}

/**
 * The import rule on its own: it needs no types, so its test is fast.
 * @type {import('eslint').Linter.Config}
 */
export const rooms = {
  files: ['**/*.{ts,tsx,js,mjs}'],
  languageOptions: { parser: tseslint.parser },
  plugins: { herald: { rules: { rooms: importRule } } },
  rules: { 'herald/rooms': 'error' },
};

export default defineConfig(
  globalIgnores(['**/generated/', 'client/dist/', '.data/']),
  js.configs.recommended,
  tseslint.configs.recommendedTypeChecked,
  { languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } } },
  rooms,
  {
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      // An async function without await turns what it throws into a rejection, as the callers of ports expect.
      '@typescript-eslint/require-await': 'off',
      // Ports are plain objects of functions, without `this`.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    ignores: ['**/config.ts', 'scripts/**', 'tests/**', 'bench/**', '*.config.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'Only config.ts reads the environment.' },
      ],
      'no-restricted-imports': [
        'error',
        {
          paths: ['node:process', 'process'].map((name) => ({
            name,
            importNames: ['env'],
            message: 'Only config.ts reads the environment.',
          })),
        },
      ],
    },
  },
  {
    // What they look at (rows, JSON bodies) is `any` until an expectation has named it.
    files: ['tests/**', 'bench/**'],
    rules: {
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: {
      globals: {
        console: 'readonly',
        performance: 'readonly',
        process: 'readonly',
        URL: 'readonly',
        fetch: 'readonly',
      },
    },
  },
);
