import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { SMTPServer } from 'smtp-server';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { topologyNames } from '../contracts/topology.ts';
import { deleteFromBroker } from './amqp.ts';
import { makeFolder } from './private-folder.ts';
import { freePort } from './private-process.ts';
import { startProgram, type Program } from './program.ts';
import { startRoundRobin } from './round-robin.ts';
import { until } from './until.ts';

/** The last release and this version side by side, as in an upgrade without a pause. */

const SENDS = 2_000;
const BATCH = 20;
const root = join(import.meta.dirname, '..');
const run = promisify(execFile);
const git = async (...args: string[]) => (await run('git', args, { cwd: root })).stdout.trim();

const PROGRAMS = {
  user: ['subgraphs/user/main.ts'],
  template: ['subgraphs/template/main.ts'],
  notification: ['subgraphs/notification/main.ts'],
  gateway: ['gateway/main.ts'],
  email: ['workers/main.ts', 'email'],
} as const;
type Name = keyof typeof PROGRAMS;
const NAMES = Object.keys(PROGRAMS) as Name[];

/**
 * The newest tag, else the commit that the changelog names for the newest release, but not what is checked out: a release is not its own
 * last one. null: there is no history to take it from.
 */
async function findRelease(): Promise<string | null> {
  const tags = (await git('tag', '--list', 'v*', '--sort=-v:refname').catch(() => '')).split('\n').filter(Boolean);
  const changelog = await readFile(join(root, 'CHANGELOG.md'), 'utf8');
  const noted = [...changelog.matchAll(/^## \d+\.\d+\.\d+ .*\bcommit ([0-9a-f]{7,40})\b/gm)].map(
    ([, commit = '']) => commit,
  );
  const commitOf = (name: string) => git('rev-parse', '--verify', `${name}^{commit}`).catch(() => null);
  const head = await commitOf('HEAD');
  for (const name of [...tags, ...noted]) {
    const commit = await commitOf(name);
    if (commit !== null && commit !== head) return commit;
  }
  return null;
}

const release = await findRelease();
const [amqpUrl, redisUrl, postgresUrl] = [inject('amqpUrl'), inject('redisUrl'), inject('postgresUrl')];
const id = randomUUID().slice(0, 8);
const prefix = `upgrade-${id}.`;
const databases = {
  USERS_DATABASE_URL: `up_users_${id}`,
  TEMPLATES_DATABASE_URL: `up_templates_${id}`,
  NOTIFICATIONS_DATABASE_URL: `up_notifications_${id}`,
};
const secret = () => randomBytes(24).toString('hex');
const adminKey = secret();

test('the last release can be taken from the history', () => {
  // Without it the upgrade is not tested, which must not pass for a success.
  if (process.env['CI'] === 'true')
    expect(release, 'fetch the whole history: git fetch --unshallow --tags').not.toBeNull();
});

describe.skipIf(release === null || amqpUrl === null || redisUrl === null)('an upgrade', { timeout: 300_000 }, () => {
  let mailbox: Awaited<ReturnType<typeof startPostOffice>>;
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let old: string;
  const doors = new Map<Name, Awaited<ReturnType<typeof startRoundRobin>>>();
  const ports = new Map<Name, [old: number, fresh: number]>();
  const running = new Map<string, Program>();

  const addressOf = (database: string, role = '') => {
    const url = new URL(postgresUrl);
    url.pathname = `/${database}`;
    return `${url.href}${role}`;
  };
  const shared = {
    AMQP_URL: amqpUrl ?? '',
    AMQP_PREFIX: prefix,
    REDIS_URL: redisUrl ?? '',
    CACHE_PREFIX: prefix,
    USER_SECRET: secret(),
    TEMPLATE_SECRET: secret(),
    NOTIFICATION_SECRET: secret(),
    WORKER_API_KEY: secret(),
    ADMIN_API_KEY: adminKey,
    JWT_KEYS: `upgrade:${secret()}`,
    LEASE_SECONDS: '6',
    PROVIDER_TIMEOUT_SECONDS: '3',
    RETRY_BASE_SECONDS: '1',
  };
  const urlOf = (name: Name) => `http://127.0.0.1:${doors.get(name)?.port}`;
  const envOf = (checkout: string, name?: Name): NodeJS.ProcessEnv => ({
    PATH: join(checkout, 'node_modules/.bin') + delimiter + process.env.PATH,
    ...shared,
    SMTP_URL: mailbox.url,
    ...Object.fromEntries(Object.entries(databases).map(([variable, database]) => [variable, addressOf(database)])),
    ...(name === 'email' && {
      NOTIFICATIONS_DATABASE_URL: addressOf(databases.NOTIFICATIONS_DATABASE_URL, '?options=-c%20role%3Dherald_worker'),
    }),
    USER_URL: urlOf('user'),
    TEMPLATE_URL: urlOf('template'),
    NOTIFICATION_URL: urlOf('notification'),
    GATEWAY_URL: urlOf('gateway'),
  });
  const migrate = (checkout: string) => run('node', ['cli/migrate.ts'], { cwd: checkout, env: envOf(checkout) });

  async function start(version: 'old' | 'fresh', name: Name): Promise<void> {
    const checkout = version === 'old' ? old : root;
    const port = ports.get(name)?.[version === 'old' ? 0 : 1];
    const env = { ...envOf(checkout, name), PORT: String(port) };
    running.set(`${version} ${name}`, startProgram('node', [...PROGRAMS[name]], { cwd: checkout, env }));
    const isReady = async () => (await fetch(`http://127.0.0.1:${port}/ready`).catch(() => null))?.status === 200;
    await until(isReady, { timeoutMs: 60_000, everyMs: 100 });
  }
  async function stop(name: Name): Promise<void> {
    const program = running.get(`old ${name}`);
    program?.signal('SIGTERM');
    expect(await program?.ended, `${name}: ${program?.output().slice(-1_000)}`).toEqual({ code: 0, signal: null });
  }
  /** How much of the stream a process has handled, as it says itself. */
  async function shareOf(version: 'old' | 'fresh', name: Name): Promise<number> {
    const port = ports.get(name)?.[version === 'old' ? 0 : 1];
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const line = {
      email: /^herald_handled_total\{.*class="accepted".*\} (\d+)/gm,
      gateway: /^http_request_duration_seconds_count\{.*route="\/api\/v1\/notifications\/",status="202".*\} (\d+)/gm,
      notification: SIGNED_REQUESTS,
      template: SIGNED_REQUESTS,
      user: SIGNED_REQUESTS,
    }[name];
    return [...text.matchAll(line)].reduce((sum, [, count]) => sum + Number(count), 0);
  }
  const rest = async (url: string, body: object) => {
    const response = await fetch(url, {
      method: 'POST',
      // One connection each, so that both versions of the gateway get their share.
      headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text };
  };

  beforeAll(async () => {
    folder = await makeFolder('upgrade');
    old = join(folder.path, 'release');
    await git('worktree', 'add', '--detach', old, release ?? '');
    await lendPackages(old);
    // Its own packages and its own generated code, as its users have them.
    await run('npm', ['run', '--silent', 'setup'], {
      cwd: old,
      env: { ...process.env, NODE_ENV: undefined },
      maxBuffer: 2 ** 24,
    });
    mailbox = await startPostOffice();
    for (const name of NAMES) {
      const pair: [number, number] = [await freePort(), await freePort()];
      ports.set(name, pair);
      doors.set(name, await startRoundRobin(pair));
    }
    for (const name of Object.values(databases)) await query(postgresUrl, `CREATE DATABASE ${name}`);
    await migrate(old);
    for (const name of NAMES) await start('old', name);
  }, 300_000);
  afterAll(async () => {
    for (const program of running.values()) if (!program.hasEnded()) program.signal('SIGTERM');
    for (const program of running.values()) await program.ended;
    for (const door of doors.values()) await door.stop();
    await mailbox?.stop();
    const marks = await query(addressOf(databases.NOTIFICATIONS_DATABASE_URL), 'SELECT mark FROM broker_mark').catch(
      () => null,
    );
    const { queues, direct, events, markQueue } = topologyNames(prefix);
    const marked = (marks?.rows ?? []).map(({ mark }: { mark: string }) => markQueue(mark));
    await deleteFromBroker(amqpUrl ?? '', {
      queues: [...Object.values(queues), ...marked],
      exchanges: [direct, events],
    }).catch(() => {});
    for (const name of Object.values(databases))
      await query(postgresUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    await git('worktree', 'remove', '--force', old).catch(() => {});
    await folder?.remove();
    // A tree of packages takes its time to go, on a busy disk.
  }, 180_000);

  test(`of one process after another loses none of ${SENDS} notifications or more, and delivers each once`, async () => {
    const user = await rest(`${urlOf('user')}/api/v1/users/`, {
      name: 'Ada',
      email: `${id}@example.com`,
      password: 'correct horse',
    });
    const template = { code: 'hello', email: { subject: 'Hello', html: '<p>{{ name }}</p>' } };
    expect((await rest(`${urlOf('template')}/api/v1/templates/`, template)).status).toBe(201);

    const accepted: string[] = [];
    let isUpgraded = false;
    const streaming = (async () => {
      while (!isUpgraded || accepted.length < SENDS) {
        const sends = Array.from({ length: BATCH }, () => ({
          notification_type: 'email',
          user_id: user.body.id,
          template_code: 'hello',
          variables: { name: 'Ada' },
          request_id: randomUUID(),
        }));
        // A connection that is lost at the change is a request to repeat: with the same ids it is safe.
        const answers = await until(
          async () => {
            const { status, body } = await rest(`${urlOf('gateway')}/api/v1/notifications/`, sends);
            return status === 202 && body.every((one: { notification_id?: string }) => one.notification_id) && body;
          },
          { timeoutMs: 30_000 },
        );
        accepted.push(...answers.map((one: { notification_id: string }) => one.notification_id));
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    await until(() => accepted.length >= 200, { timeoutMs: 30_000 });

    // In the order of docs/operations.md: both versions run on the new tables, and each new process beside the old one.
    await migrate(root);
    for (const name of ['user', 'template', 'notification', 'email', 'gateway'] as const) {
      await start('fresh', name);
      const [since, oldShare] = [accepted.length, await shareOf('old', name)];
      const bothTakePart = async () => {
        const [freshShare, share] = [await shareOf('fresh', name), await shareOf('old', name)];
        if (accepted.length >= since + 3 * BATCH && freshShare > 0 && share > oldShare) return true;
        // Callers keep their connections, which may all lead to one of the two.
        doors.get(name)?.mix();
        return false;
      };
      await until(bothTakePart, { timeoutMs: 30_000, everyMs: 500 });
      await stop(name);
    }
    isUpgraded = true;
    await streaming;

    const count = async (where: string) =>
      Number(
        (
          await query(
            addressOf(databases.NOTIFICATIONS_DATABASE_URL),
            `SELECT count(*) FROM notification WHERE ${where}`,
          )
        ).rows[0].count,
      );
    await until(async () => (await count(`status = 'pending'`)) === 0, { timeoutMs: 90_000, everyMs: 200 });
    expect(await count(`status = 'delivered'`)).toBe(accepted.length);
    expect(new Set(accepted).size).toBe(accepted.length);
    expect(mailbox.received.toSorted()).toEqual(accepted.toSorted());
  });
});

const SIGNED_REQUESTS = /^http_request_duration_seconds_count\{.*route="\/graphql",status="200".*\} (\d+)/gm;

/** Where the release has the same packages as this version, it gets ours by hard links: npm would put the same files there. */
async function lendPackages(to: string): Promise<void> {
  const lockOf = (checkout: string) => readFile(join(checkout, 'package-lock.json'), 'utf8');
  if ((await lockOf(root)) !== (await lockOf(to))) return;
  const packages = join(to, 'node_modules');
  await run('cp', ['--archive', '--link', join(root, 'node_modules'), packages])
    // What is written into there is each checkout's own.
    .then(() =>
      Promise.all(['.cache', '.vite'].map((name) => rm(join(packages, name), { recursive: true, force: true }))),
    )
    // Another file system: npm does it.
    .catch(() => rm(packages, { recursive: true, force: true }));
}

/** Takes mail, and keeps of each the id of its notification. */
async function startPostOffice() {
  const received: string[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, _session, done) {
      let text = '';
      stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      stream.on('end', () => {
        received.push(/^message-id: <([0-9a-f-]{36})/im.exec(text)?.[1] ?? 'a mail of nobody');
        done();
      });
    },
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    received,
    url: `smtp://127.0.0.1:${port}`,
    stop: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

async function query(url: string, text: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}
