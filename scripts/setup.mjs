// Makes a checkout ready to run: installs the packages and generates code, each only when its inputs changed.
// npm runs it before start, test and check, so a fresh clone needs no other command. This file itself must run on the
// machine's own Node and without packages; what it starts runs on the Node 24 that npm ci puts into node_modules/.bin.
// With --regenerate it generates everything anew. Where only a program shall run, it installs and generates nothing: see
// isProduction.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, 'node_modules', '.bin');
const stampFile = 'node_modules/.cache/herald/setup.json';
const lockFile = '.data/setup.lock';
/** No setup takes that long. An older lock is left over, even where its process id lives again, as ids do in containers. */
const staleLockMs = 15 * 60_000;

const generators = [
  ...['user', 'template', 'notification'].map((name) => ({
    name: `Prisma client of ${name}`,
    inputs: [`prisma/${name}/schema.prisma`],
    output: `prisma/${name}/generated/client.ts`,
    command: ['prisma', 'generate', `--schema=prisma/${name}/schema.prisma`],
    // Generating needs no schema engine, but Prisma downloads one unless it is told of an executable.
    env: { PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, CHECKPOINT_DISABLE: '1' },
    mend: `Mend prisma/${name}/schema.prisma`,
  })),
  {
    name: 'GraphQL types',
    inputs: [
      'subgraphs/user/schema.graphql',
      'subgraphs/template/schema.graphql',
      'subgraphs/notification/schema.graphql',
      'rest/operations.graphql',
      'client/operations',
      'codegen.ts',
    ],
    output: 'subgraphs/user/generated/graphql.ts',
    command: ['graphql-codegen', '--config', 'codegen.ts'],
    mend: 'Mend the schema or the operation named above',
  },
  {
    name: 'GraphiQL bundle',
    inputs: ['gateway/graphiql/build.ts', 'gateway/graphiql/page.tsx'],
    output: 'gateway/graphiql/generated/index.html',
    command: ['node', 'gateway/graphiql/build.ts'],
    mend: 'Mend gateway/graphiql',
  },
  {
    name: 'the herald command',
    inputs: ['scripts/build-command.mjs', 'cli', 'client', 'client/operations', 'platform/env.ts'],
    output: 'cli/generated/herald.js',
    // It holds the client's operations, which are generated too.
    after: 'GraphQL types',
    command: ['node', 'scripts/build-command.mjs'],
    mend: 'Mend cli/herald.ts',
  },
  {
    name: 'Swagger UI',
    inputs: ['scripts/swagger-ui.mjs'],
    output: 'platform/rest/generated/swagger-ui/swagger-ui-bundle.js',
    command: ['node', 'scripts/swagger-ui.mjs'],
    mend: 'Mend scripts/swagger-ui.mjs',
  },
];

await main().catch((error) => {
  if (!['EACCES', 'EPERM', 'EROFS'].includes(error.code)) throw error;
  const path = resolve(root, error.path ?? '');
  fail(`${path} can't be written (${error.code}): make ${root} writable for this user, or run it as its owner.`);
});

async function main() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) {
    return fail(
      `Node 20 or newer is needed to install Herald (this is ${process.version}); it brings its own Node 24.`,
    );
  }
  process.chdir(root);
  if (major >= 24 && isProduction()) return checkGenerated();
  const force = process.argv.includes('--regenerate');
  if (!force && isInstalled() && staleGenerators().length === 0) return;
  await withLock(async () => {
    if (!isInstalled() && !(await install())) return;
    await generate(force ? generators.filter(isPresent) : staleGenerators());
  });
}

/**
 * Whether only a program of its own shall run here: with NODE_ENV=production, or where the development packages were pruned.
 * `npm start`, tests and checks need those packages in any case.
 */
function isProduction() {
  const script = process.env.npm_lifecycle_event ?? 'setup';
  const isProgram = /^(setup|pre(start:.+|db:.+))$/.test(script);
  return isProgram && (process.env.NODE_ENV === 'production' || (script !== 'setup' && isPruned()));
}

function checkGenerated() {
  const missing = generators.filter((step) => isPresent(step) && !existsSync(step.output)).map(({ name }) => name);
  if (missing.length === 0) return;
  fail(
    `${missing.join(', ')} missing: run "npm ci && npm run setup && npm prune --omit=dev" without NODE_ENV=production first.`,
  );
}

/** @returns whether the packages are there */
async function install() {
  say('installing packages, which takes a minute …');
  // Without our own .bin on the PATH: npm must not run on the Node that it is about to replace.
  const path = process.env.PATH.split(delimiter)
    .filter((folder) => folder !== bin)
    .join(delimiter);
  const flags = ['--include=dev', '--ignore-scripts=false', '--no-audit', '--no-fund', '--loglevel=error'];
  const { ok, output, seconds } = await run(['npm', 'ci', ...flags], { PATH: path });
  if (!ok || !hasNode()) {
    fail(
      '`npm ci` failed. Mend what it says above (often the network or an outdated lock file), then run `npm run setup`.',
      output,
    );
    return false;
  }
  writeStamp('packages', lockHash());
  say(`packages installed in ${seconds} s`);
  return true;
}

/** First what needs nothing that is generated, then the rest. */
async function generate(stale) {
  await generateAll(stale.filter((step) => !step.after));
  await generateAll(stale.filter((step) => step.after));
}

/** Two at a time: each is one process that is busy for a second or two. */
async function generateAll(steps) {
  const queue = [...steps];
  const worker = async () => {
    for (let step = queue.shift(); step; step = queue.shift()) {
      const stamp = stampOf(step);
      const { ok, output, seconds } = await run(step.command, {
        PATH: bin + delimiter + process.env.PATH,
        ...step.env,
      });
      if (ok) {
        writeStamp(step.name, stamp);
        say(`${step.name} generated in ${seconds} s`);
      } else {
        fail(`${step.name}: \`${step.command.join(' ')}\` failed. ${step.mend}, then run \`npm run setup\`.`, output);
      }
    }
  };
  await Promise.all([worker(), worker()]);
}

function isInstalled() {
  if (!hasNode()) return false;
  if (readStamps().packages === lockHash()) return true;
  if (!isInstalledByHand()) return false;
  writeStamp('packages', lockHash());
  return true;
}

/** Whether somebody's own `npm ci` or `npm install` left what the lock file asks for. */
function isInstalledByHand() {
  return hasPackages(() => true);
}

/** Whether that was done without the development packages. */
function isPruned() {
  return !hasNode() && hasPackages(({ dev }) => !dev);
}

function hasPackages(isWanted) {
  const found = readJson('node_modules/.package-lock.json')?.packages ?? {};
  const wanted = Object.entries(readJson('package-lock.json').packages).filter(([, entry]) => isWanted(entry));
  return wanted.every(([path, { version, optional, devOptional }]) => {
    const isElsewhere = path === '' || ((optional || devOptional) && !found[path]);
    return isElsewhere || found[path]?.version === version;
  });
}

/** An install script puts it there, so it is missing after `npm ci --ignore-scripts`. */
function hasNode() {
  return existsSync(`node_modules/node/bin/node${process.platform === 'win32' ? '.exe' : ''}`);
}

function staleGenerators() {
  const stamps = readStamps();
  return generators.filter(
    (step) => isPresent(step) && (stamps[step.name] !== stampOf(step) || !existsSync(step.output)),
  );
}

function isPresent(step) {
  return existsSync(step.inputs[0]);
}

function stampOf(step) {
  const files = step.inputs.flatMap((input) => (input.includes('.') ? [input] : filesIn(input)));
  return hash('scripts/setup.mjs', 'package-lock.json', ...files.filter((file) => existsSync(file)));
}

function filesIn(folder) {
  return existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .map((name) => `${folder}/${name}`)
        .filter((path) => statSync(path).isFile())
    : [];
}

function lockHash() {
  return hash('package-lock.json');
}

function hash(...files) {
  const digest = createHash('sha256');
  for (const file of files) digest.update(`${file}\n`).update(readFileSync(file));
  return digest.digest('hex');
}

function readStamps() {
  return readJson(stampFile) ?? {};
}

function writeStamp(name, value) {
  mkdirSync(dirname(stampFile), { recursive: true });
  writeFileSync(stampFile, JSON.stringify({ ...readStamps(), [name]: value }, null, 2));
}

/** @returns undefined when there is no such file, or half of one */
function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Lends the checkout to one setup at a time. The lock is a file with a pid; a lock that is left over is taken over. */
async function withLock(work) {
  mkdirSync(dirname(lockFile), { recursive: true });
  for (let waits = 0; !takeLock(); waits++) {
    if (waits === 1) say(`waiting for another setup of this checkout (${lockFile} holds its pid) …`);
    await sleep(100);
  }
  try {
    await work();
  } finally {
    rmSync(lockFile, { force: true });
  }
}

function takeLock() {
  try {
    writeFileSync(lockFile, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  if (!isHeld()) {
    // By a rename, which only one of several can do; the next try takes the place.
    const leftOver = `${lockFile}.${process.pid}`;
    try {
      renameSync(lockFile, leftOver);
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
    rmSync(leftOver, { force: true });
  }
  return false;
}

function isHeld() {
  // A file that is still empty counts as held: its holder is about to write its number.
  const holder = readJson(lockFile);
  const age = Date.now() - (statSync(lockFile, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  return age < staleLockMs && holder !== process.pid && (holder === undefined || isAlive(holder));
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function run([command, ...args], env) {
  const start = performance.now();
  const isWindows = process.platform === 'win32';
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: isWindows,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  return new Promise((resolve) => {
    const end = (ok) => resolve({ ok, output, seconds: ((performance.now() - start) / 1000).toFixed(1) });
    child.on('error', (error) => (output += error.message)).on('error', () => end(false));
    child.on('close', (code) => end(code === 0));
  });
}

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

function fail(line, output = '') {
  // The progress ticks of graphql-codegen hide its errors.
  process.stderr.write(output.replace(/^[❯✔].*\n/gm, ''));
  say(line);
  process.exitCode = 1;
}
