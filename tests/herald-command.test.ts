import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { makeFolder } from './private-folder.ts';
import { freePort } from './private-process.ts';
import { startProgram, type Program } from './program.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

/** `herald`, as `npm run setup` builds it and a terminal runs it. */
const COMMAND = join(import.meta.dirname, '../cli/generated/herald.js');

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded' });
  [user, template] = [await givenUser(herald), await givenTemplate(herald)];
});
afterAll(() => herald?.stop());

const envOf = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HERALD_URL: herald.url,
  HERALD_API_KEY: herald.adminApiKey,
  ...more,
});
async function run(args: string[], more: NodeJS.ProcessEnv = {}) {
  const options = { env: envOf(more), cwd: '/', timeout: 30_000 };
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [COMMAND, ...args], options)) };
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string };
  }
}
const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await run([...args, '--json']);
  if (code !== 0) throw new Error(`${code}: ${stderr}`);
  return stdout
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
};
const fail = async (fields: object = {}) => {
  const id = await givenSent(herald, user, template, {
    send_at: new Date(Date.now() + 3_600_000).toISOString(),
    ...fields,
  });
  await herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status: 'failed', error: 'no mailbox' });
  return id;
};

test('send waits for the end, and says how it was', async () => {
  const requestId = randomUUID();
  const args = ['send', '--user', user, '--template', template, '--var', 'name=Ada', '--request-id', requestId];
  const { code, stdout } = await run([...args, '--wait']);
  expect(stdout).toMatch(/^[0-9a-f-]{36} is PENDING\n/);
  expect(stdout).toMatch(/ DELIVERED {2}attempts 1\n$/);
  expect(code).toBe(0);
  const [again] = await json(...args);
  expect(again).toMatchObject({ requestId, duplicate: true });
});

test('send with --wait ends with 1 when the notification fails', async () => {
  const off = await givenUser(herald, { preferences: { email: false, push: true } });
  const { code, stdout } = await run([
    'send',
    '--user',
    off,
    '--template',
    template,
    '--variables',
    '{"name":"Ada"}',
    '--wait',
  ]);
  expect(stdout).toMatch(/FAILED {2}PREFERENCE_DISABLED/);
  expect(code).toBe(1);
});

describe('tail', () => {
  const programs: Program[] = [];
  afterAll(async () => {
    for (const program of programs) if (!program.hasEnded()) program.signal('SIGKILL');
  });
  const tail = (...args: string[]) => {
    const program = startProgram(process.execPath, [COMMAND, 'tail', ...args], { cwd: '/', env: envOf() });
    programs.push(program);
    return program;
  };

  test('shows what changes, goes on where it was when the gateway comes back, and tells the cursor at the end', async () => {
    const watched = await givenUser(herald);
    const program = tail('--user', watched);
    const sent: string[] = [];
    const send = async () => sent.push(await givenSent(herald, watched, template));
    await until(async () => {
      await send();
      return program.output().includes('DELIVERED');
    });
    // What a worker can't report while the gateway is away would come much later.
    await herald.drained();
    await herald.stopPart('gateway');
    await program.says('the connection is lost');
    await herald.startPart('gateway');
    const since = sent.length;
    for (let count = 0; count < 3; count += 1) await send();
    const after = sent.slice(since);
    await until(() => after.every((id) => program.output().includes(`${id}  DELIVERED`)), { timeoutMs: 20_000 });
    program.signal('SIGINT');
    expect(await program.ended).toEqual({ code: 130, signal: null });
    const lines = program
      .output()
      .split('\n')
      .filter((line) => line.includes('DELIVERED'));
    expect(new Set(lines).size).toBe(lines.length);

    const cursor = /go on with --after (\S+)/.exec(program.output())?.[1] ?? '';
    await send();
    const next = await json('tail', '--user', watched, '--after', cursor, '--count', '2');
    expect(next.map(({ id, status }) => [id, status])).toEqual([
      [sent.at(-1), 'PENDING'],
      [sent.at(-1), 'DELIVERED'],
    ]);
    // A script that is killed goes on behind the last line that it read.
    const [last] = await json('tail', '--user', watched, '--after', String(next[0]?.['cursor']), '--count', '1');
    expect(last).toEqual(next[1]);
  });
});

test('failed list, replay and discard', async () => {
  const [one, two, three] = [await fail(), await fail(), await fail()];
  const listed = await json('failed', 'list', '--user', user, '--reason', 'rejected');
  expect(listed.map(({ id }) => id)).toEqual([three, two, one]);
  expect((await run(['failed', 'list', '--user', user, '--limit', '1'])).stderr).toMatch(/^1 shown, there are more/);

  expect((await run(['failed', 'discard', one, '--why', 'called'])).stdout).toBe(`${one} is discarded\n`);
  expect((await run(['failed', 'replay', two, '--why', 'mended'])).stdout).toBe(`${two} is PENDING again\n`);
  const [many] = await json('failed', 'replay', '--user', user, '--reason', 'REJECTED');
  expect(many).toMatchObject({ replayed: 1, hasMore: false });
  const rows = await herald.sql('notification', 'SELECT id, reason FROM notification WHERE id = ANY ($1)', [
    [one, two, three],
  ]);
  expect(Object.fromEntries(rows.map(({ id, reason }) => [id, reason]))).toMatchObject({ [one]: 'DISCARDED' });
});

test('keys create, list and revoke', async () => {
  const client = `client-${randomUUID().slice(0, 8)}`;
  const made = await run([
    'keys',
    'create',
    '--client',
    client,
    '--name',
    'a story',
    '--scope',
    'users:read,notifications:read',
  ]);
  const key = made.stdout.trim();
  expect(key).toMatch(/^hk_/);
  expect(made.stderr).toBe('this is the only sight of the key:\n');
  const [listed] = await json('keys', 'list', '--client', client);
  expect(listed).toMatchObject({ clientId: client, scopes: ['users:read', 'notifications:read'], revokedAt: null });
  expect((await run(['keys', 'list'], { HERALD_API_KEY: key })).stderr).toMatch(
    /^herald: FORBIDDEN: .* \(request \S+\)\n$/,
  );
  expect((await run(['keys', 'revoke', listed.prefix])).stdout).toBe(`${listed.prefix} of ${client} is revoked\n`);
  expect((await run(['keys', 'list', '--client', client])).stdout).toMatch(/revoked/);
});

describe('a program of the checkout', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let program: Program | undefined;
  beforeAll(async () => {
    folder = await makeFolder('herald-command');
  });
  afterAll(async () => {
    if (program && !program.hasEnded()) program.signal('SIGKILL');
    await folder?.remove();
  });

  test('stops whole when the command is told to, by a signal to it alone', { timeout: 60_000 }, async () => {
    const names = [
      'GATEWAY',
      'USER',
      'TEMPLATE',
      'NOTIFICATION',
      'EMAIL_WORKER',
      'PUSH_WORKER',
      'SMTP',
      'MAILBOX',
      'POSTGRES',
    ];
    const ports: Record<string, string> = {};
    for (const name of names) ports[`${name}_PORT`] = String(await freePort());
    program = startProgram(process.execPath, [COMMAND, 'start'], {
      cwd: folder.path,
      env: { PATH: process.env.PATH, DATA_DIR: join(folder.path, 'data'), ...ports },
    });
    await program.says('✓ PostgreSQL');
    process.kill(program.pid, 'SIGTERM');
    expect(await program.ended, program.output()).toEqual({ code: 0, signal: null });
    expect(program.output()).toMatch(/Herald has stopped/);
    const postgres = new pg.Client({ connectionString: `postgresql://127.0.0.1:${ports['POSTGRES_PORT']}/postgres` });
    await expect(postgres.connect()).rejects.toThrow(/ECONNREFUSED/);
  });

  test('answers as JSON where it can, and refuses to where it can not', async () => {
    const { code, stdout } = await run(['doctor', '--json']);
    expect(code).toBe(1);
    const checks = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(checks).toContainEqual({
      check: expect.stringMatching(/^gateway at/),
      ok: expect.any(Boolean),
      says: expect.any(String),
    });
    for (const words of [
      ['start', '--json'],
      ['migrate', '--json'],
      ['doctor', '--url', 'http://127.0.0.1'],
    ])
      expect(await run(words)).toMatchObject({ code: 2, stderr: expect.stringMatching(/Unknown option/) });
  });
});

describe('what goes wrong has a code, and a sentence', () => {
  test.each<[string[], RegExp]>([
    [['sing'], /there is no command sing/],
    [['keys'], /keys takes one of create, list, revoke/],
    [['send', '--usr', 'x'], /Unknown option '--usr'/],
    [['send', '--template', 'x'], /--user is missing/],
    [['send', '--user', 'x', '--template', 'x', '--var', 'name'], /--var must be name=value, not name/],
    [['send', '--user', 'x', '--template', 'x', '--variables', '[]'], /--variables must be a JSON object/],
    [['send', '--user', 'x', '--template', 'x', '--priority', 'high'], /--priority must be a whole number, not high/],
    [['tail', '--user', 'x', '--request', 'y'], /tail takes one of/],
    [['failed', 'replay'], /name ids, or filter/],
    [['failed', 'discard', 'x'], /--why is missing/],
    [['doctor', 'me'], /doctor takes nothing behind it/],
    [['completion', 'tcsh'], /completion takes one of bash, zsh, fish/],
  ])('%j', async (args, message) => {
    const { code, stderr } = await run(args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });

  test('a refusal is 1, nobody there is 3', async () => {
    const refused = await run(['send', '--user', 'x', '--template', template]);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/^herald: BAD_USER_INPUT: userId must be a UUID/),
    ]);
    const stranger = await run(['keys', 'list'], { HERALD_API_KEY: 'hk_wrong' });
    expect([stranger.code, stranger.stderr]).toEqual([1, expect.stringMatching(/^herald: UNAUTHENTICATED: /)]);
    const nobody = await run(['keys', 'list', '--url', `http://127.0.0.1:${await freePort()}`]);
    expect([nobody.code, nobody.stderr]).toEqual([3, expect.stringMatching(/ECONNREFUSED/)]);
  });
});

test('help names every command and every option, and completions complete them', async () => {
  const { stdout } = await run(['--help']);
  for (const words of ['start', 'doctor', 'send', 'tail', 'failed list', 'failed replay', 'keys revoke', 'migrate'])
    expect(stdout).toContain(`herald ${words} `);
  expect((await run(['send', '--help'])).stdout).toMatch(/--request-id <id>/);

  const complete = async (...words: string[]) => {
    const script = `source <("$0" "$1" completion bash); COMP_WORDS=(herald "\${@:2}"); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _herald; echo "\${COMPREPLY[@]}"`;
    const { stdout: told } = await promisify(execFile)('bash', ['-c', script, process.execPath, COMMAND, ...words]);
    return told.trim().split(' ');
  };
  expect(await complete('fa')).toEqual(['failed']);
  expect(await complete('failed', 're')).toEqual(['replay']);
  expect(await complete('send', '--us')).toEqual(['--user']);
  expect(await complete('failed', 'list', '--li')).toEqual(['--limit']);
  for (const shell of ['zsh', 'fish']) expect((await run(['completion', shell])).stdout).toContain('herald');
});
