import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { givenTemplate, givenUser } from './given.ts';
import { makeFolder, type PrivateFolder } from './private-folder.ts';
import { startHerald, type Herald } from './start.ts';

const root = join(import.meta.dirname, '..');
const run = promisify(execFile);

/** An application of somebody else: strict, with nothing of this repository but the package. */
const APPLICATION = `
import { createClient, GraphQLRequestError, type Client } from '@herald/client';
import { NotificationDocument, SendNotificationDocument, type SendNotificationInput } from '@herald/client/operations';
import { createVerifier } from '@herald/client/verify-request';

const [url = '', apiKey = '', userId = '', templateCode = ''] = process.argv.slice(2);
const herald: Client = createClient({ url, apiKey });

const send = async (input: SendNotificationInput) => (await herald.request(SendNotificationDocument, { input })).sendNotification;
const input: SendNotificationInput = { notificationType: 'EMAIL', userId, templateCode, requestId: 'package-1', variables: { name: 'Ada' } };
const { notification } = await send(input);
const { data } = await herald.requestRaw(NotificationDocument, { id: notification.id }, { timeoutMs: 5_000 });
const name: string | undefined = data?.notification?.user?.name;
const refusal = await send({ ...input, requestId: '' }).catch((error: unknown) => error);
const isTrusted = typeof createVerifier({ name: 'shop', secret: 'a secret of 16 characters' })({ method: 'GET', path: '/', body: '', headers: {} }) !== 'string';
const field = refusal instanceof GraphQLRequestError ? refusal.field : null;
console.log(JSON.stringify({ status: notification.status, name, field, isTrusted, canSubscribe: typeof herald.subscribe === 'function' }));
`;

let herald: Herald;
let folder: PrivateFolder;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
  folder = await makeFolder('client');
  await installClient();
  await write('package.json', '{ "type": "module" }');
  await write('application.ts', APPLICATION);
});
afterAll(async () => {
  await folder?.remove();
  await herald?.stop();
});

test('the package has what it needs, and nothing of its sources or of ours', async () => {
  const installed = join(folder.path, 'node_modules/@herald/client');
  const files = (await readdir(installed, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const names = files.map(({ parentPath, name }) => join(parentPath, name).slice(installed.length + 1));
  expect(names.filter((name) => !name.startsWith('dist/')).sort()).toEqual(['LICENSE', 'README.md', 'package.json']);
  expect(names).toContain('dist/generated/operations.js');
  const manifest = await readFile(join(installed, 'dist/trusted-documents.json'), 'utf8');
  expect(manifest).toBe(await readFile(join(root, 'client/generated/trusted-documents.json'), 'utf8'));

  const { dependencies } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
  const importsOf = async (name: string) =>
    [...(await readFile(join(installed, name), 'utf8')).matchAll(/from ['"]([^.'"][^'"]*)['"]/g)].map(
      ([, from]) => from,
    );
  const code = names.filter((name) => /\.(js|d\.ts)$/.test(name) && !name.includes('verify-request'));
  // A browser has no node:crypto: what needs it has an entry of its own.
  expect(new Set((await Promise.all(code.map(importsOf))).flat())).toEqual(
    new Set(['graphql-ws/client', '@graphql-typed-document-node/core']),
  );
  expect(await importsOf('dist/verify-request.js')).toEqual(['node:crypto']);
  expect(Object.keys(dependencies).sort()).toEqual(['@graphql-typed-document-node/core', 'graphql-ws']);
});

test('an application outside this repository type-checks against it', async () => {
  expect(await typeCheck('application.ts')).toBe('');
  await write('wrong.ts', APPLICATION.replace("notificationType: 'EMAIL'", "notificationType: 'FAX'"));
  expect(await typeCheck('wrong.ts')).toContain(`Type '"FAX"' is not assignable to type 'NotificationType'`);
}, 60_000);

test('and runs on plain Node', async () => {
  const [user, template] = [await givenUser(herald, { name: 'Ada' }), await givenTemplate(herald)];
  const args = ['application.ts', herald.url, herald.adminApiKey, user, template];
  const { stdout } = await run(process.execPath, args, { cwd: folder.path });
  expect(JSON.parse(stdout)).toEqual({
    status: 'PENDING',
    name: 'Ada',
    field: 'requestId',
    isTrusted: false,
    canSubscribe: true,
  });
});

/** As npm does it, but that the packages which it depends on come from this checkout, for lack of a network. */
async function installClient(): Promise<void> {
  const options = { cwd: root, env: { ...process.env, npm_config_loglevel: 'error' } };
  const { stdout } = await run('npm', ['pack', './client', '--json', '--pack-destination', folder.path], options);
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf('[')));
  const modules = join(folder.path, 'node_modules');
  const target = join(modules, '@herald/client');
  await mkdir(target, { recursive: true });
  await run('tar', ['-xzf', join(folder.path, packed.filename), '-C', target, '--strip-components=1']);
  for (const name of ['graphql', 'graphql-ws', '@graphql-typed-document-node/core', '@types/node', 'undici-types']) {
    await mkdir(dirname(join(modules, name)), { recursive: true });
    await symlink(join(root, 'node_modules', name), join(modules, name));
  }
}

/** @returns what TypeScript has against it */
async function typeCheck(file: string): Promise<string> {
  const flags = ['--strict', '--noEmit', '--target', 'es2024', '--module', 'nodenext', '--types', 'node'];
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const checked = run(process.execPath, [tsc, ...flags, '--moduleDetection', 'force', file], { cwd: folder.path });
  return checked.then(
    ({ stdout }) => stdout,
    (error: { stdout: string }) => error.stdout,
  );
}

const write = (name: string, text: string) => writeFile(join(folder.path, name), text);
