import { spawn } from 'node:child_process';
import { chmod, copyFile, mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeFolder, type PrivateFolder } from './private-folder.ts';
import { startProgram } from './program.ts';

const root = join(import.meta.dirname, '..');
const isRoot = process.getuid?.() === 0;
const NOBODY = { uid: 65534, gid: 65534 };

/** Stands for npm: says so, and leaves what setup looks for after an `npm ci`. */
const NPM = `#!/bin/sh
echo installed >> npm.log
mkdir -p node_modules/node/bin && touch node_modules/node/bin/node`;

let folder: PrivateFolder;
let checkout: string;

/** A checkout of nothing but the script, two packages and one thing to generate from. */
beforeEach(async () => {
  folder = await makeFolder('setup');
  checkout = join(folder.path, 'checkout');
  await mkdir(join(checkout, 'scripts'), { recursive: true });
  await copyFile(join(root, 'scripts', 'setup.mjs'), join(checkout, 'scripts', 'setup.mjs'));
  const packages = {
    '': {},
    'node_modules/fastify': { version: '5.0.0' },
    'node_modules/node': { version: '24.0.0', dev: true },
  };
  await write('package-lock.json', JSON.stringify({ packages }));
  await write('bin/npm', NPM);
  await chmod(join(checkout, 'bin', 'npm'), 0o755);
});
afterEach(() => folder.remove());

describe('where only a program shall run', () => {
  const givenSchema = () => write('prisma/user/schema.prisma', '');
  const givenClient = () => write('prisma/user/generated/client.ts', '');
  const givenPrunedTree = () =>
    write('node_modules/.package-lock.json', '{"packages":{"node_modules/fastify":{"version":"5.0.0"}}}');

  test.each([
    ['with NODE_ENV=production', { NODE_ENV: 'production', npm_lifecycle_event: 'prestart:gateway' }],
    ['with NODE_ENV=production, on its own', { NODE_ENV: 'production' }],
  ])('%s nothing is installed or written', async (_, env) => {
    await givenSchema();
    await givenClient();
    const before = await readdir(checkout);
    expect(await setup(env)).toEqual({ code: 0, output: '' });
    expect(await readdir(checkout)).toEqual(before);
  });

  test('nor in a tree without development packages', async () => {
    await givenSchema();
    await givenClient();
    await givenPrunedTree();
    expect(await setup({ npm_lifecycle_event: 'predb:migrate' })).toEqual({ code: 0, output: '' });
    expect(await readdir(checkout)).not.toContain('.data');
  });

  test('one line says what is missing, and how to make it', async () => {
    await givenSchema();
    const { code, output } = await setup({ NODE_ENV: 'production', npm_lifecycle_event: 'prestart:user' });
    expect(code).toBe(1);
    expect(output).toMatch(
      /^setup: Prisma client of user missing: run "npm ci && npm run setup && npm prune --omit=dev".*\n$/,
    );
  });

  test('`npm start` installs all the same: it needs the development packages', async () => {
    await givenPrunedTree();
    expect(await setup({ NODE_ENV: 'production', npm_lifecycle_event: 'prestart' })).toMatchObject({ code: 0 });
    expect(await installs()).toBe(1);
  });
});

describe('the lock of a checkout', () => {
  const LOCK = '.data/setup.lock';
  const age = async (minutes: number) => {
    const then = new Date(Date.now() - minutes * 60_000);
    await utimes(join(checkout, LOCK), then, then);
  };

  test('lets one of several setups install, and the others wait for it', async () => {
    const outcomes = await Promise.all([1, 2, 3].map(() => setup()));
    expect(outcomes.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(await readdir(join(checkout, '.data'))).toEqual([]);
  });

  test('is taken over when its holder is dead', async () => {
    const dead = spawn(process.execPath, ['-e', '']);
    await new Promise((resolve) => dead.once('exit', resolve));
    await write(LOCK, String(dead.pid));
    expect(await setup()).toMatchObject({ code: 0 });
    expect(await installs()).toBe(1);
  });

  test('is taken over when it is older than any setup, though its number belongs to a living process', async () => {
    await write(LOCK, String(process.pid));
    await age(16);
    expect(await setup()).toMatchObject({ code: 0 });
    expect(await installs()).toBe(1);
    expect(await readdir(join(checkout, '.data'))).toEqual([]);
  });

  test('is waited for while its holder may be at work', async () => {
    await write(LOCK, String(process.pid));
    await age(14);
    const program = start();
    await program.says('waiting for another setup of this checkout');
    expect(program.hasEnded()).toBe(false);
    program.signal('SIGKILL');
    await program.ended;
  });
});

test.skipIf(!isRoot)('a checkout that may not be written is said in one line, with the mend', async () => {
  const { code, output } = await setup({}, NOBODY);
  expect(code).toBe(1);
  expect(output).toBe(
    `setup: ${join(checkout, '.data')} can't be written (EACCES): make ${checkout} writable for this user, or run it as its owner.\n`,
  );
});

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(checkout, path)), { recursive: true });
  await writeFile(join(checkout, path), text);
}

const start = (env: NodeJS.ProcessEnv = {}, owner: { uid?: number; gid?: number } = {}) =>
  startProgram(process.execPath, ['scripts/setup.mjs'], {
    cwd: checkout,
    env: { PATH: `${join(checkout, 'bin')}:${process.env.PATH}`, ...env },
    ...owner,
  });

async function setup(...args: Parameters<typeof start>): Promise<{ code: number | null; output: string }> {
  const program = start(...args);
  const { code } = await program.ended;
  return { code, output: program.output() };
}

const installs = async () => (await readFile(join(checkout, 'npm.log'), 'utf8')).split('\n').length - 1;
