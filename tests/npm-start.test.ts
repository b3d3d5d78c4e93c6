import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { findBinary } from './find-binary.ts';
import { makeFolder, type PrivateFolder } from './private-folder.ts';
import { copyDatabases } from './databases.ts';
import { freePort } from './private-process.ts';
import { findProcesses, startProgram, type Program } from './program.ts';
import { until } from './until.ts';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const NOBODY = { uid: 65534, gid: 65534 };
const PORTS = [
  'GATEWAY_PORT',
  'USER_PORT',
  'TEMPLATE_PORT',
  'NOTIFICATION_PORT',
  'EMAIL_WORKER_PORT',
  'PUSH_WORKER_PORT',
  'SMTP_PORT',
  'MAILBOX_PORT',
  'POSTGRES_PORT',
];
/** The longest that a stop may take, from Ctrl-C until the last process is gone. */
const STOP_MS = 5_000;
/** npm ends itself by the Ctrl-C that it passed on, though the program behind it exits with 0: a shell shows 130. */
const ENDED_BY_CTRL_C = { code: null, signal: 'SIGINT' };
const KEY_OF_ODD_CHARACTERS = `o'clock-"$HOME"-\\n-%20&+#-!1`;

let folder: PrivateFolder;
/** The clone that all stories run in. As root it stands in a folder that nobody else may enter, until a story opens it. */
let checkout: string;
let ports: Record<string, string>;
const running: Program[] = [];

// The stories go on from one another: installing takes most of a minute, and a second start is a story of its own.
describe('npm start', { timeout: 90_000 }, () => {
  beforeAll(async () => {
    folder = await makeFolder('npm-start');
    await chmod(folder.path, 0o700);
    checkout = join(folder.path, 'herald');
    const { stdout } = await run('git', ['rev-parse', '--show-toplevel'], { cwd: import.meta.dirname });
    await run('git', ['clone', '--quiet', stdout.trim(), checkout]);
    ports = Object.fromEntries(await Promise.all(PORTS.map(async (name) => [name, String(await freePort())])));
  });
  afterEach(async () => {
    for (const program of running.splice(0)) {
      const left = await findProcesses({ session: program.pid, mention: `${folder.path}/` });
      for (const line of left) process.kill(Number.parseInt(line, 10), 'SIGKILL');
      await program.ended;
    }
  });
  afterAll(() => folder.remove());

  it(
    'makes a fresh clone ready, and the two commands that it prints send a mail each',
    { timeout: 450_000 },
    async () => {
      const program = startHerald();
      await program.says('Ctrl-C stops it', { timeoutMs: 420_000 });
      const herald = read(program);
      expect(program.output()).toMatch(/setup: packages installed/);
      expect(herald.commands).toHaveLength(2);

      const [rest = '', graphql = ''] = await Promise.all(herald.commands.map((command) => paste(command)));
      const accepted = JSON.parse(rest);
      expect(accepted).toMatchObject({ status: 'pending', duplicate: false });
      const { sendNotification } = JSON.parse(graphql).data;
      expect(sendNotification).toMatchObject({ duplicate: false, notification: { user: { name: 'Ada Lovelace' } } });
      for (const id of [accepted.notification_id, sendNotification.notification.id]) {
        await until(async () => (await herald.mails()).get(id) === 1);
        await until(async () => (await herald.statusOf(id)) === 'delivered');
      }
      expect((await stat(join(checkout, '.data', 'secrets.json'))).mode & 0o777).toBe(0o600);
      await stops(program);
    },
  );

  it('finishes on Ctrl-C what is in flight, and finds everything again at the next start', async () => {
    const first = startHerald();
    await first.says('Ctrl-C stops it');
    const before = read(first);
    const earlier = [...(await before.mails()).keys()];
    expect(earlier).toHaveLength(2);
    const sending = startSending(before);
    await until(() => sending.accepted.length >= 200, { timeoutMs: 20_000 });
    const answered = sending.stop();
    await stops(first);
    await answered;

    const second = startHerald();
    await second.says('Ctrl-C stops it');
    const after = read(second);
    expect(second.output()).not.toMatch(/setup:|creating the database/);
    expect(after).toMatchObject({ apiKey: before.apiKey, userId: before.userId });
    for (const id of earlier) expect(await after.statusOf(id)).toBe('delivered');
    await delivers(after, sending.accepted);
    const mails = await after.mails();
    expect(sending.accepted.filter((id) => mails.get(id) !== 1)).toEqual([]);
    await stops(second);
  });

  it('is started again after a kill -9 that PostgreSQL survived, and still delivers all', async () => {
    // Who has a notification when it is killed, has it for a lease; then its outcome is unknown, and it is tried again.
    const quick = { LEASE_SECONDS: '2', RETRY_BASE_SECONDS: '1' };
    const first = startHerald(quick);
    await first.says('Ctrl-C stops it');
    const sending = startSending(read(first));
    await until(() => sending.accepted.length >= 200, { timeoutMs: 20_000 });
    first.signal('SIGKILL');
    await first.ended;
    await sending.stop();
    expect((await leftOf(first)).join()).toMatch(/postgres -D/);

    const second = startHerald(quick);
    await second.says('Ctrl-C stops it');
    expect(second.output()).toMatch(/stopping the PostgreSQL that an earlier run left behind/);
    const herald = read(second);
    const again = JSON.parse(await paste(herald.commands[0] ?? ''));
    await delivers(herald, [...sending.accepted, again.notification_id]);
    const mails = await herald.mails();
    expect(sending.accepted.filter((id) => !mails.has(id))).toEqual([]);
    await stops(second);
  });

  it('stops on Ctrl-C before it is ready, and starts anew after that', async () => {
    const env = { DATA_DIR: join(folder.path, 'interrupted') };
    for (const moment of ['Herald is starting', 'creating the database', '✓ PostgreSQL']) {
      const program = startHerald(env);
      await program.says(moment);
      await stops(program, { says: /Herald has stopped before it was ready/ });
      expect(program.output()).not.toMatch(/herald:|Herald is ready/);
    }
    const program = startHerald(env);
    await program.says('Ctrl-C stops it');
    await stops(program);
  });

  it('lets one of two first starts have the data folder, and tells the other', async () => {
    const env = { DATA_DIR: join(folder.path, 'twice') };
    const others = Object.fromEntries(await Promise.all(PORTS.map(async (name) => [name, String(await freePort())])));
    const programs = [startHerald(env), startHerald({ ...env, ...others })];
    const loser = await Promise.race(programs.map(async (program) => program.ended.then(() => program)));
    expect(await loser.ended).toEqual({ code: 1, signal: null });
    expect(faults(loser)).toEqual([expect.stringMatching(/twice already: set DATA_DIR|twice\/postgres is in use/)]);
    const winner = programs.find((program) => program !== loser);
    await winner?.says('Ctrl-C stops it');
    if (winner) await stops(winner);
    // What the loser did left no trace: the winner's secrets open its database.
    const again = startHerald(env);
    await again.says('Ctrl-C stops it');
    await stops(again);
  });

  it('takes any ADMIN_API_KEY, prints commands that every shell takes, and without npm exits with 0', async () => {
    const node = join(checkout, 'node_modules', '.bin', 'node');
    const env = { ...userEnv(), ...ports, ADMIN_API_KEY: KEY_OF_ODD_CHARACTERS };
    const program = startProgram(node, ['embedded/main.ts'], { cwd: checkout, env });
    running.push(program);
    await program.says('Ctrl-C stops it');
    expect(program.output()).toContain(`/graphql#key=${encodeURIComponent(KEY_OF_ODD_CHARACTERS)}\n`);
    const herald = read(program);
    expect(herald.apiKey).toBe(KEY_OF_ODD_CHARACTERS);
    for (const shell of ['bash', 'sh', 'zsh'].filter((name) => findBinary(name) !== null)) {
      // Twice in the same second, and still not one notification.
      const sent = await Promise.all([...herald.commands, ...herald.commands].map((command) => paste(command, shell)));
      const ids = sent.map((text) => {
        const { data, ...rest } = JSON.parse(text);
        const { notification, duplicate } = data?.sendNotification ?? {
          notification: { id: rest.notification_id },
          duplicate: rest.duplicate,
        };
        return duplicate ? 'a duplicate' : notification.id;
      });
      expect(new Set(ids).size, shell).toBe(4);
      await delivers(herald, ids);
    }
    await stops(program, { endsWith: { code: 0, signal: null } });
  });

  it('stops in time and as ever whatever clients hold open, and answers what is in flight', async () => {
    const program = startHerald();
    await program.says('Ctrl-C stops it');
    const herald = read(program);
    const port = Number(ports['GATEWAY_PORT']);
    const head = `POST /api/v1/notifications/ HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${herald.apiKey}\r\ncontent-`;
    const sockets = ['', head, `${head}type: application/json\r\ncontent-length: 1000\r\n\r\n[{`].map((bytes) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
      socket.on('error', () => {});
      return socket;
    });
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    const sending = herald.sendMany(1_000);
    // It is being worked on once somebody who came later has been answered.
    expect(await herald.send()).not.toBeNull();
    await stops(program);
    expect(await sending).toEqual({ status: 202, items: 1_000 });
    for (const socket of sockets) socket.destroy();

    const again = startHerald();
    await again.says('Ctrl-C stops it');
    await until(read(again).nothingIsPending, { timeoutMs: 60_000, everyMs: 500 });
    await stops(again);
  });

  it('stops in time though its PostgreSQL does not answer any more', async () => {
    const program = startHerald();
    await program.says('Ctrl-C stops it');
    const postmaster = (await leftOf(program)).find((line) => line.includes('postgres -D'));
    process.kill(Number.parseInt(postmaster ?? '', 10), 'SIGSTOP');
    await stops(program);
    const again = startHerald();
    await again.says('Ctrl-C stops it');
    await stops(again);
  });

  it.each([
    [{ GATEWAY_PORT: 'abc' }, [/^herald: GATEWAY_PORT is wrong: must be a port number, 0 to 65535$/]],
    [
      { GATEWAY_PORT: 'abc', LOG_LEVEL: 'loud', ADMIN_API_KEY: 'short' },
      [
        /^herald: GATEWAY_PORT is wrong: must be/,
        /^herald: ADMIN_API_KEY is wrong: must have at least 16 characters; several parted by commas, the newest first$/,
        /^herald: LOG_LEVEL is wrong: must be trace, debug, info, warn, error, fatal or silent$/,
      ],
    ],
    [{ DATA_DIR: 'package.json' }, [/^herald: the data folder .*package\.json can't be written: .* set DATA_DIR/]],
    [{ MAILBOX_PORT: '0' }, [/^herald: MAILBOX_PORT is 0: name a port/]],
  ])('says in a line each what is wrong with %o', async (env, expected) => {
    const program = startHerald(env);
    expect(await program.ended).toEqual({ code: 1, signal: null });
    expect(faults(program)).toEqual(expected.map((line) => expect.stringMatching(line)));
    expect(await leftOf(program)).toEqual([]);
  });

  it.each(['USER_PORT', 'SMTP_PORT', 'POSTGRES_PORT'])(
    'says in one line that the port of %s is taken',
    async (name) => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const address = server.address();
      const port = typeof address === 'object' ? address?.port : undefined;
      const program = startHerald({ [name]: String(port) });
      expect(await program.ended).toEqual({ code: 1, signal: null });
      server.close();
      expect(faults(program)).toEqual([
        expect.stringMatching(new RegExp(`port ${port} .*is taken.* set ${name} to`, 'i')),
      ]);
      expect(await leftOf(program)).toEqual([]);
    },
  );

  describe.skipIf(!isRoot)('as root where no user namespace is to be had', () => {
    const withoutUnshare = () => ({ PATH: join(folder.path, 'bin') + delimiter + (userEnv()['PATH'] ?? '') });

    it('says in one line that others may not enter the folder', async () => {
      await mkdir(join(folder.path, 'bin'));
      await writeFile(join(folder.path, 'bin', 'unshare'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
      const program = startHerald(withoutUnshare());
      expect(await program.ended).toEqual({ code: 1, signal: null });
      expect(faults(program)).toEqual([expect.stringMatching(/refuses to run as root.*run this as an ordinary user/)]);
      expect(await leftOf(program)).toEqual([]);
    });

    it('starts in a folder that others may enter, with PostgreSQL as another user, and again', async () => {
      await chmod(folder.path, 0o711);
      await rename(join(checkout, '.data'), join(folder.path, 'data-of-before'));
      for (let starts = 0; starts < 2; starts += 1) {
        const program = startHerald(withoutUnshare());
        await program.says('Ctrl-C stops it');
        const sent = JSON.parse(await paste(read(program).commands[0] ?? ''));
        await delivers(read(program), [sent.notification_id]);
        await stops(program);
      }
      expect((await stat(join(checkout, '.data', 'postgres'))).uid).toBe(NOBODY.uid);
    });
  });

  it('has programs that need no development package once they are generated, in the tree that an image is made of', async () => {
    const pruned = join(folder.path, 'pruned');
    await run('cp', ['-al', checkout, pruned]);
    // The Node that the packages brought is pruned as well; here it stands for the machine's.
    const env = {
      ...userEnv(),
      PATH: join(checkout, 'node_modules', '.bin') + delimiter + (userEnv()['PATH'] ?? ''),
      NODE_ENV: 'production',
    };
    // As the Dockerfile does it.
    const omitted = ['--omit=dev', '--omit=optional', '--omit=peer'];
    await run('npm', ['prune', ...omitted, '--offline', '--no-audit', '--no-fund'], { cwd: pruned, env });
    await run('node', ['scripts/slim.mjs'], { cwd: pruned, env });
    const { stdout: size } = await run('du', ['-sm', 'node_modules'], { cwd: pruned });
    expect(Number.parseInt(size, 10)).toBeLessThanOrEqual(170);
    for (const script of ['gateway', 'user', 'template', 'notification', 'worker -- email']) {
      const program = startProgram('npm', ['run', '--silent', ...`start:${script}`.split(' ')], { cwd: pruned, env });
      expect(await program.ended).toEqual({ code: 1, signal: null });
      expect(program.output()).toMatch(/^(herald: [A-Z_]+ is not set: .*\n)+$/);
    }
    await expect(run('npm', ['run', '--silent', 'db:migrate'], { cwd: pruned, env })).rejects.toMatchObject({
      stderr: expect.stringMatching(/^(herald: [A-Z_]+ is not set: .*\n)+$/),
    });

    const secrets = ['USER_SECRET', 'TEMPLATE_SECRET', 'NOTIFICATION_SECRET', 'ADMIN_API_KEY', 'WORKER_API_KEY'];
    const given: Record<string, string> = {
      ...Object.fromEntries(secrets.map((name) => [name, `the-${name.toLowerCase()}-of-this-story`])),
      JWT_KEYS: 'story:the-signing-key-of-this-story-has-32-characters',
      REDIS_URL: 'redis://127.0.0.1:1',
      AMQP_URL: 'amqp://127.0.0.1:1',
    };
    const program = startProgram('npm', ['run', '--silent', 'start:gateway'], {
      cwd: pruned,
      env: { ...env, ...given, PORT: ports['GATEWAY_PORT'] },
    });
    running.push(program);
    await program.says('the gateway is up');
    const page = await fetch(`http://127.0.0.1:${ports['GATEWAY_PORT']}/graphql`, { headers: { accept: 'text/html' } });
    expect(page.status).toBe(200);
    program.signal('SIGTERM');
    await program.ended;
    expect(await leftOf(program)).toEqual([]);
    running.pop();

    // Prisma compiles its queries, and a collector has OpenTelemetry loaded.
    const databases = await copyDatabases(inject('postgresUrl'), inject('templateDatabases'));
    const users = startProgram('npm', ['run', '--silent', 'start:user'], {
      cwd: pruned,
      env: {
        ...env,
        ...given,
        PORT: ports['USER_PORT'],
        USERS_DATABASE_URL: databases.urlOf('user'),
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
      },
    });
    running.push(users);
    await users.says('the user service is up');
    const made = await fetch(`http://127.0.0.1:${ports['USER_PORT']}/api/v1/users/`, {
      method: 'POST',
      headers: { authorization: `Bearer ${given['ADMIN_API_KEY']}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'Ada', email: 'ada@example.com', password: 'correct horse' }),
    });
    expect(made.status).toBe(201);
    users.signal('SIGTERM');
    await users.ended;
    running.pop();
    await databases.drop();
    await rm(pruned, { recursive: true });
  });

  it.skipIf(!isRoot)('works for an ordinary user', async () => {
    await chmod(folder.path, 0o711);
    await rm(join(checkout, '.data'), { recursive: true, force: true });
    await mkdir(join(folder.path, 'home'));
    await run('chown', ['-R', `${NOBODY.uid}:${NOBODY.gid}`, checkout, join(folder.path, 'home')]);
    const home = { HOME: join(folder.path, 'home'), npm_config_cache: join(folder.path, 'home', 'npm') };
    const program = startHerald(home, NOBODY);
    await program.says('Ctrl-C stops it');
    const herald = read(program);
    const [rest = '', graphql = ''] = await Promise.all(herald.commands.map((command) => paste(command)));
    const ids = [JSON.parse(rest).notification_id, JSON.parse(graphql).data.sendNotification.notification.id];
    await delivers(herald, ids);
    expect((await stat(join(checkout, '.data', 'secrets.json'))).uid).toBe(NOBODY.uid);
    await stops(program);

    const closed = join(folder.path, 'closed');
    await mkdir(closed, { mode: 0o700 });
    const other = startHerald({ ...home, DATA_DIR: join(closed, 'data') }, NOBODY);
    expect(await other.ended).toEqual({ code: 1, signal: null });
    expect(faults(other)).toEqual([expect.stringMatching(/closed\/data can't be written: .*set DATA_DIR/)]);
  });
});

/** Starts `npm start` in the checkout, with the ports of this file. */
function startHerald(env: NodeJS.ProcessEnv = {}, owner: { uid?: number; gid?: number } = {}): Program {
  const program = startProgram('npm', ['start'], {
    cwd: checkout,
    env: { ...userEnv(), ...ports, ...env },
    ...owner,
  });
  running.push(program);
  return program;
}

/** The environment of a user's shell: nothing of the npm script and the test runner that we run under. */
function userEnv(): NodeJS.ProcessEnv {
  const path = (process.env.PATH ?? '').split(delimiter).filter((entry) => !/node_modules|node-gyp-bin/.test(entry));
  const ours =
    /^(npm_(package|lifecycle|command|execpath|node_execpath|config_local_prefix)|INIT_CWD$|NODE(_ENV|_OPTIONS)?$|VITEST|CI$|HOST$)/;
  const entries = Object.entries(process.env).filter(([name]) => !ours.test(name));
  return { ...Object.fromEntries(entries), PATH: path.join(delimiter) };
}

/** Ends it as the terminal would, and checks that it is quick and leaves nothing behind. */
async function stops(
  program: Program,
  { endsWith = ENDED_BY_CTRL_C, says = /Herald has stopped\. Your data/ }: { endsWith?: object; says?: RegExp } = {},
): Promise<void> {
  const since = performance.now();
  program.signal('SIGINT');
  expect(await program.ended).toEqual(endsWith);
  expect(performance.now() - since).toBeLessThan(STOP_MS);
  expect(program.output()).toMatch(says);
  // What is left of a PostgreSQL that had to be killed goes by itself.
  await until(async () => (await leftOf(program)).length === 0);
  running.splice(running.indexOf(program), 1);
}

/** What is left of a program: of its session, or with this file's folder in the command line, as PostgreSQL has it. */
const leftOf = (program: Program) => findProcesses({ session: program.pid, mention: `${folder.path}/` });

/** The lines that say what is wrong, of an output that has nothing else to say: no stack, no second opinion. */
function faults(program: Program): string[] {
  expect(program.output()).not.toMatch(/^\s+at /m);
  expect(program.output()).not.toMatch(/Herald is ready/);
  const ours = program
    .output()
    .split('\n')
    .filter((line) => !/^(npm |> |Herald is starting|$| {2}✓| {2}creating)/.test(line));
  return ours;
}

/** What a user reads off the screen, and what that opens. */
function read(program: Program) {
  const [, gatewayUrl] = /(http:\S+)\/graphql#key=/.exec(program.output()) ?? [];
  const [, apiKey] = /Admin API key +(\S+)/.exec(program.output()) ?? [];
  const [, mailboxUrl] = /Mailbox +(http:\S+)/.exec(program.output()) ?? [];
  const [, userId] = /"user_id":"([^"]+)"/.exec(program.output()) ?? [];
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` };
  const toSend = () => ({
    notification_type: 'email',
    user_id: userId,
    template_code: 'welcome',
    variables: { name: 'Ada' },
    request_id: randomUUID(),
  });
  const post = async (body: object): Promise<{ status: number; body: unknown }> => {
    const url = `${gatewayUrl}/api/v1/notifications/`;
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: response.status, body: await response.json() };
  };
  return {
    apiKey,
    userId,
    commands: program
      .output()
      .split('\n')
      .filter((line) => line.startsWith('curl ')),
    /** @returns the id when it was accepted, else null */
    async send(): Promise<string | null> {
      const { status, body } = await post(toSend());
      return status === 202 ? (body as { notification_id: string }).notification_id : null;
    },
    /** In one request. @returns how many items the answer has */
    async sendMany(count: number): Promise<{ status: number; items: number }> {
      const { status, body } = await post(Array.from({ length: count }, toSend));
      return { status, items: (body as unknown[]).length };
    },
    async nothingIsPending(): Promise<boolean> {
      const response = await fetch(`${gatewayUrl}/api/v1/notifications/?status=pending&first=1`, { headers });
      return ((await response.json()) as { notifications: unknown[] }).notifications.length === 0;
    },
    async statusOf(id: string): Promise<string> {
      const response = await fetch(`${gatewayUrl}/api/v1/notifications/${id}`, { headers });
      return ((await response.json()) as { status: string }).status;
    },
    /** How many mails there are of each notification. */
    async mails(): Promise<Map<string, number>> {
      const response = await fetch(`${mailboxUrl}/api/v1/messages?limit=1000`);
      const counts = new Map<string, number>();
      const { messages } = (await response.json()) as { messages: { MessageID: string }[] };
      for (const { MessageID } of messages) {
        const id = MessageID.replace(/@.*/, '');
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      return counts;
    },
  };
}

type ReadHerald = ReturnType<typeof read>;

/** Sends from 20 connections, until `stop` or until nobody takes it any more. `stop` waits for the answers to what is on its way. */
function startSending(herald: ReadHerald): { accepted: string[]; stop(): Promise<void> } {
  const accepted: string[] = [];
  let stopped = false;
  const senders = Array.from({ length: 20 }, async () => {
    while (!stopped) {
      const id = await herald.send().catch(() => null);
      if (id === null) return;
      accepted.push(id);
    }
  });
  return {
    accepted,
    async stop() {
      stopped = true;
      await Promise.all(senders);
    },
  };
}

async function delivers(herald: ReadHerald, ids: string[]): Promise<void> {
  let open = ids;
  await until(
    async () => {
      const statuses = await Promise.all(open.map(async (id) => ({ id, status: await herald.statusOf(id) })));
      open = statuses.filter(({ status }) => status !== 'delivered').map(({ id }) => id);
      return open.length === 0;
    },
    { timeoutMs: 60_000, everyMs: 100 },
  );
}

const paste = async (command: string, shell = 'bash'): Promise<string> => (await run(shell, ['-c', command])).stdout;
