// Everything that must hold before a commit, but the tests: two parts at a time, and of each only a line unless it fails.
import { spawn } from 'node:child_process';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

// The slowest first. What is generated can't be stale: `npm run check` runs scripts/setup.mjs before this.
const parts = [
  { name: 'lint', command: 'eslint .' },
  { name: 'types', command: 'tsc' },
  { name: 'format', command: 'prettier --check --log-level warn .', mend: 'npm run format' },
  { name: 'types of GraphiQL', command: 'tsc -p gateway/graphiql' },
  { name: 'schema lint', command: 'eslint -c schema-lint.config.js "subgraphs/*/schema.graphql"' },
  { name: 'known faults of packages', command: 'node scripts/audit.mjs', told: true },
  { name: 'supergraph', command: 'node gateway/federation/compose.ts --check', mend: 'npm run compose' },
  { name: 'OpenAPI', command: 'node scripts/openapi.mjs --check', mend: 'npm run openapi' },
];

const failed = [];
const queue = [...parts];
await Promise.all([worker(), worker()]);

for (const { name, command, mend, output } of failed) {
  console.log(`\n── ${name}: ${command}${mend ? ` (mend: ${mend})` : ''}\n${output.trimEnd()}`);
}
if (failed.length > 0) {
  console.log(`\ncheck failed: ${failed.map((part) => part.name).join(', ')}`);
  process.exitCode = 1;
}

async function worker() {
  for (let part = queue.shift(); part; part = queue.shift()) {
    const start = performance.now();
    const { code, output } = await run(part.command);
    const told = part.told && code === 0 ? output.trim() : '';
    console.log(
      `${code === 0 ? '✓' : '✗'} ${part.name} ${((performance.now() - start) / 1000).toFixed(1)} s${told && `: ${told}`}`,
    );
    if (code !== 0) failed.push({ ...part, output });
  }
}

function run(command) {
  const path = join(root, 'node_modules', '.bin') + delimiter + process.env.PATH;
  const env = { ...process.env, PATH: path, ...(process.stdout.isTTY && { FORCE_COLOR: '1' }) };
  const child = spawn(command, { cwd: root, shell: true, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, output })));
}
