import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { topologyNames } from '../contracts/topology.ts';
import { startMailbox, type Mailbox } from '../embedded/mailbox/start-mailbox.ts';
import { deleteFromBroker } from './amqp.ts';
import { freePort } from './private-process.ts';
import { startProgram, type Program } from './program.ts';
import { until } from './until.ts';

const root = join(import.meta.dirname, '..');
const PATH = join(root, 'node_modules', '.bin') + delimiter + (process.env.PATH ?? '');
const NAMES = ['gateway', 'user', 'template', 'notification', 'email', 'push'] as const;
type Name = (typeof NAMES)[number];
const DATABASES = ['users_db', 'templates_db', 'notifications_db'] as const;

/** The longest that a program may take from SIGTERM to its end. */
const STOP_MS = 5_000;
const prefix = `separate-${randomUUID()}.`;
const adminKey = randomBytes(16).toString('hex');
const [amqpUrl, redisUrl] = [inject('amqpUrl'), inject('redisUrl')];

let mailbox: Mailbox;
let ports: Record<Name, number>;
/** Ways to PostgreSQL, RabbitMQ and Redis that a story can block. */
let ways: { postgres: Way; rabbitmq: Way; redis: Way; smtp: Way };
let running: Map<Name, Program>;

// The stories go on from one another: the databases, the user and the template are made once.
describe.skipIf(amqpUrl === null || redisUrl === null)(
  'the programs as processes of their own',
  { timeout: 90_000 },
  () => {
    beforeAll(async () => {
      mailbox = await startMailbox({ smtpPort: 0, httpPort: 0, host: '127.0.0.1', log: () => {} });
      ways = {
        postgres: await createWay(inject('postgresUrl')),
        rabbitmq: await createWay(amqpUrl ?? ''),
        redis: await createWay(redisUrl ?? ''),
        // So that at any moment there are mails which the mailbox has and whose sender does not know yet.
        smtp: await createWay(mailbox.smtpUrl, { answersAfterMs: 50 }),
      };
      const free = await Promise.all(NAMES.map(async (name) => [name, await freePort()] as const));
      ports = Object.fromEntries(free) as Record<Name, number>;
      running = new Map();
      for (const name of DATABASES) await administer(`CREATE DATABASE "${prefix}${name}"`);
    });
    afterEach(async () => {
      await stopAll();
      for (const way of Object.values(ways)) await way.open();
    });
    afterAll(async () => {
      for (const way of Object.values(ways)) await way.block();
      await mailbox.stop();
      const marks = await administer('SELECT mark FROM broker_mark', 'notifications_db');
      const { queues, direct, events, markQueue } = topologyNames(prefix);
      await deleteFromBroker(amqpUrl ?? '', {
        queues: [...Object.values(queues), ...marks.map(({ mark }) => markQueue(String(mark)))],
        exchanges: [direct, events],
      });
      for (const name of DATABASES) await administer(`DROP DATABASE "${prefix}${name}" WITH (FORCE)`);
    });

    it('has `npm run db:migrate` bring the databases up to date, once', async () => {
      const migrate = async () =>
        (await promisify(execFile)('npm', ['run', '--silent', 'db:migrate'], { cwd: root, env: envOf('user') })).stdout;
      expect(await migrate()).toMatch(/^user: applied \S+.*\ntemplate: applied \S+.*\nnotification: applied \S+.*\n$/);
      expect(await migrate()).toBe('user: up to date\ntemplate: up to date\nnotification: up to date\n');
    });

    it('sends a mail and a push message', async () => {
      startThese(NAMES);
      await allReady();
      const template = {
        code: 'hello',
        email: { subject: 'Hello', text: 'Hello', html: '<p>Hello</p>' },
        push: { title: 'Hello', body: 'You' },
      };
      expect((await rest('POST', `${urlOf('template')}/api/v1/templates/`, template)).status).toBe(201);
      const [email, push] = [await send('email'), await send('push')];
      await delivers([email, push]);
      expect((await mails()).get(email)).toBe(1);
      const { body } = await rest('GET', `${mailbox.url}/api/v1/push`);
      expect(body).toMatchObject({ total: 1 });
    });

    it('has `npm run doctor` say in a line each what is wrong, and the mend', async () => {
      startThese(NAMES);
      await allReady();
      const env = { ...envOf('user'), PORT: undefined, PUBLIC_URL: 'https://herald.example.com' };
      const well = await doctor(env);
      expect(well.output).not.toMatch(/✗/);
      expect(well.code).toBe(0);
      expect(well.output).toMatch(/✓ notifications_db: PostgreSQL \d+.*, migrations applied/);
      expect(well.output).toMatch(/✓ RabbitMQ: .*email\.queue 0 waiting, 1 consumers/);
      expect(well.output).toMatch(/✓ email provider smtp: takes messages from us/);

      await ways.redis.block();
      await ways.smtp.block();
      const ill = await doctor({
        ...env,
        ADMIN_API_KEY: 'another-key-altogether',
        WORKER_API_KEY: undefined,
        PUBLIC_URL: undefined,
        USERS_DATABASE_URL: inject('postgresUrl'),
        USER_URL: `http://127.0.0.1:${await freePort()}`,
      });
      expect(ill.code).toBe(1);
      for (const expected of [
        /✗ variables of gateway, email worker, push worker: WORKER_API_KEY is not set: /,
        /✗ users_db: lacks \S+_init: run "npm run db:migrate"/,
        /✗ Redis: can't be reached: .*Start Redis, or correct REDIS_URL/,
        /✗ user service at \S+: does not answer: .*ECONNREFUSED.*Start it, or correct its URL/,
        /✗ ADMIN_API_KEY at the gateway: is refused: give the gateway and the caller the same ADMIN_API_KEY/,
        /✗ PUBLIC_URL: links in mails lead to http:\/\/127\.0\.0\.1:8000: set PUBLIC_URL to the https/,
        /✗ email provider smtp: /,
      ])
        expect(ill.output).toMatch(expected);
    });

    // The others are the same program, or hold nothing that could be lost.
    it.each(['gateway', 'notification', 'email'] as const)(
      'loses nothing when the %s program is ended by SIGTERM under load and started again',
      async (name) => {
        startThese(NAMES);
        await allReady();
        const sending = startSending();
        await until(() => sending.accepted.length >= 100, { timeoutMs: 20_000 });
        await stops([name]);
        await sending.stop();
        startThese([name]);
        await allReady();
        await deliversOnce(sending.accepted);
      },
    );

    it('loses nothing when all of them are ended at once under load, and started in another order', async () => {
      startThese(NAMES);
      await allReady();
      const sending = startSending();
      await until(() => sending.accepted.length >= 100, { timeoutMs: 20_000 });
      await stops(NAMES);
      await sending.stop();
      startThese(NAMES.toReversed());
      await allReady();
      await deliversOnce(sending.accepted);
    });

    it('has a gateway that starts without the others, says so, and goes on when they come', async () => {
      startThese(['gateway']);
      await until(async () => (await rest('GET', `${urlOf('gateway')}/health`)).status === 200, { timeoutMs: 30_000 });
      const { status, body } = await rest('GET', `${urlOf('gateway')}/ready`);
      expect({ status, body }).toMatchObject({
        status: 503,
        body: { checks: { user: { state: 'down' }, template: { state: 'down' } } },
      });
      const refused = await rest('POST', `${urlOf('gateway')}/api/v1/notifications/`, sendBody('email', randomUUID()));
      expect(refused).toMatchObject({ status: 503, body: { type: 'urn:herald:problem:unavailable' } });
      expect(Number(refused.retryAfter)).toBeGreaterThan(0);

      startThese(['push', 'email', 'notification', 'template', 'user']);
      await allReady();
      // What was refused may have opened a circuit, which rests for two seconds.
      await delivers([await until(() => send('email'))]);
    });

    it.each(['rabbitmq', 'redis', 'postgres', 'rabbitmq, redis, postgres'])(
      'starts without %s, and goes on when it comes',
      async (names) => {
        const away = names.split(', ') as (keyof typeof ways)[];
        for (const name of away) await ways[name].block();
        startThese(NAMES);
        await until(async () => (await Promise.all(NAMES.map(readyOf))).every((status) => status !== 0), {
          timeoutMs: 20_000,
          everyMs: 100,
        });
        expect(await readyOf('email')).toBe(503);
        expect([...running].filter(([, program]) => program.hasEnded()).map(([name]) => name)).toEqual([]);
        for (const name of away) await ways[name].open();
        await allReady();
        await delivers([await send('email')]);
      },
    );

    it.each(NAMES)('has the %s program name every variable that it lacks at once, a line each', async (name) => {
      const base = { PATH, PORT: '0', AMQP_PREFIX: prefix, CACHE_PREFIX: prefix };
      const program = start(name, base);
      expect(await program.ended).toEqual({ code: 1, signal: null });
      const lines = program.output().trimEnd().split('\n');
      const variables = lines.map((line) => /^herald: ([A-Z_]+) is not set: .{10}/.exec(line)?.[1] ?? line);
      expect(variables.length).toBeGreaterThan(2);

      const given = Object.fromEntries(variables.map((variable) => [variable, envOf(name)[variable]]));
      running.set(name, start(name, { ...base, ...given }));
      await running.get(name)?.says(/"the [a-z ]+ is up"/);
    });

    it('has a worker ask for its type', async () => {
      const program = startProgram('node', ['workers/main.ts'], { cwd: root, env: { PATH } });
      expect(await program.ended).toEqual({ code: 1, signal: null });
      expect(program.output()).toMatch(/^herald: the worker's type is missing: start it as .*\n$/);
    });
  },
);

/** Starts the program that `npm run start:<name>` starts, without npm before it. */
function start(name: Name, env: NodeJS.ProcessEnv): Program {
  const script = scripts[name === 'email' || name === 'push' ? 'start:worker' : `start:${name}`] ?? '';
  const [command = '', ...args] = [...script.split(' '), ...(script.includes('workers') ? [name] : [])];
  return startProgram(command, args, { cwd: root, env });
}

function startThese(names: readonly Name[]): void {
  for (const name of names) running.set(name, start(name, envOf(name)));
}

const { scripts } = z
  .object({ scripts: z.record(z.string(), z.string()) })
  .parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));

const secrets = {
  USER_SECRET: secret(),
  TEMPLATE_SECRET: secret(),
  NOTIFICATION_SECRET: secret(),
  WORKER_API_KEY: secret(),
  JWT_KEYS: `separate:${secret()}${secret()}`,
};

/** All that a program is told. */
function envOf(name: Name): NodeJS.ProcessEnv {
  const at = (database: string) => ways.postgres.url.replace(/\/[^/]*$/, `/${encodeURIComponent(prefix + database)}`);
  const asWorker = name === 'email' || name === 'push' ? '?options=-c%20role%3Dherald_worker' : '';
  return {
    PATH,
    PORT: String(ports[name]),
    USERS_DATABASE_URL: at('users_db'),
    TEMPLATES_DATABASE_URL: at('templates_db'),
    NOTIFICATIONS_DATABASE_URL: at('notifications_db') + asWorker,
    AMQP_URL: ways.rabbitmq.url,
    AMQP_PREFIX: prefix,
    REDIS_URL: ways.redis.url,
    CACHE_PREFIX: prefix,
    GATEWAY_URL: urlOf('gateway'),
    USER_URL: urlOf('user'),
    TEMPLATE_URL: urlOf('template'),
    NOTIFICATION_URL: urlOf('notification'),
    ...secrets,
    ADMIN_API_KEY: adminKey,
    SMTP_URL: ways.smtp.url,
    PUSH_SANDBOX_URL: `${mailbox.url}/api/v1/push`,
    // What a report that found no gateway is worth is only known when the lease ran out.
    LEASE_SECONDS: '6',
    PROVIDER_TIMEOUT_SECONDS: '3',
    RETRY_BASE_SECONDS: '1',
  };
}

/** Ends the programs and checks that each is quick and content. */
async function stops(names: readonly Name[]): Promise<void> {
  const since = performance.now();
  for (const name of names) running.get(name)?.signal('SIGTERM');
  for (const name of names) {
    const program = running.get(name);
    const ending = await program?.ended;
    expect({ name, ...ending }, program?.output().slice(-2_000)).toEqual({ name, code: 0, signal: null });
    running.delete(name);
  }
  expect(performance.now() - since).toBeLessThan(STOP_MS);
}

async function doctor(env: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> {
  const program = startProgram('node', ['cli/doctor.ts'], { cwd: root, env });
  const { code } = await program.ended;
  return { code: code ?? -1, output: program.output() };
}

async function stopAll(): Promise<void> {
  for (const program of running.values()) if (!program.hasEnded()) program.signal('SIGKILL');
  await Promise.all([...running.values()].map((program) => program.ended));
  running.clear();
}

/** 0 when nobody answers. */
const readyOf = (name: Name): Promise<number> =>
  rest('GET', `${urlOf(name)}/ready`).then(
    ({ status }) => status,
    () => 0,
  );

async function allReady(): Promise<void> {
  const statuses = async () =>
    Promise.all([...running.keys()].map(async (name) => ({ name, status: await readyOf(name) })));
  await until(async () => (await statuses()).every(({ status }) => status === 200), {
    timeoutMs: 20_000,
    everyMs: 100,
  }).catch(async (cause: unknown) => {
    const told = [...running].map(([name, program]) => `${name}: ${program.output().slice(-1_000)}`);
    throw new Error(`not ready: ${JSON.stringify(await statuses())}\n${told.join('\n')}`, { cause });
  });
}

const urlOf = (name: Name) => `http://127.0.0.1:${ports[name]}`;

async function rest(method: 'GET' | 'POST' | 'DELETE', url: string, body?: object) {
  const response = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${adminKey}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json');
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    body: isJson ? JSON.parse(text) : text,
  };
}

let user: Promise<string> | undefined;
const ada = { name: 'Ada', email: 'ada@example.com', push_token: 'device', password: 'correct horse' };
const userId = () => (user ??= rest('POST', `${urlOf('user')}/api/v1/users/`, ada).then(({ body }) => body.id));

const sendBody = (type: 'email' | 'push', user_id: string) => ({
  notification_type: type,
  user_id,
  template_code: 'hello',
  request_id: randomUUID(),
});

async function send(type: 'email' | 'push'): Promise<string> {
  const { status, body } = await rest(
    'POST',
    `${urlOf('gateway')}/api/v1/notifications/`,
    sendBody(type, await userId()),
  );
  if (status !== 202) throw new Error(`not accepted: ${status} ${JSON.stringify(body)}`);
  return body.notification_id;
}

/** Sends from 20 connections; what is refused, or not answered, is not accepted. */
function startSending(): { accepted: string[]; stop(): Promise<void> } {
  const accepted: string[] = [];
  let stopped = false;
  const senders = Array.from({ length: 20 }, async () => {
    while (!stopped) {
      const id = await send('email').catch(() => null);
      if (id === null) await wait(20);
      else accepted.push(id);
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

async function delivers(ids: string[]): Promise<void> {
  let open = ids;
  await until(
    async () => {
      const answers = await Promise.all(
        open.map(async (id) => ({ id, ...(await rest('GET', `${urlOf('gateway')}/api/v1/notifications/${id}`)) })),
      );
      open = answers.filter(({ body }) => body.status !== 'delivered').map(({ id }) => id);
      return open.length === 0;
    },
    { timeoutMs: 60_000, everyMs: 100 },
  );
}

async function deliversOnce(ids: string[]): Promise<void> {
  await delivers(ids);
  const counts = await mails();
  expect(ids.filter((id) => counts.get(id) !== 1)).toEqual([]);
  // The mailbox keeps a thousand.
  await rest('DELETE', `${mailbox.url}/api/v1/messages`);
}

/** How many mails there are of each notification. */
async function mails(): Promise<Map<string, number>> {
  const { body } = await rest('GET', `${mailbox.url}/api/v1/messages?limit=1000`);
  const counts = new Map<string, number>();
  for (const { MessageID } of body.messages) {
    const id = MessageID.replace(/@.*/, '');
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

async function administer(sql: string, database?: (typeof DATABASES)[number]): Promise<Record<string, unknown>[]> {
  const url = inject('postgresUrl');
  const client = new pg.Client({
    connectionString: database ? url.replace(/\/[^/]*$/, `/${encodeURIComponent(prefix + database)}`) : url,
  });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

type Way = {
  /** Leads to the server by way of us. */
  url: string;
  open(): Promise<void>;
  /** Cuts the connections, and from then on nobody listens. */
  block(): Promise<void>;
};

/** A port in front of a server. It is open at first. */
async function createWay(to: string, { answersAfterMs = 0 } = {}): Promise<Way> {
  const target = new URL(to);
  const url = new URL(to);
  url.port = String(await freePort());
  let server: Server | undefined;
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    return socket;
  };
  const way: Way = {
    url: url.href,
    async open() {
      if (server) return;
      server = createServer((socket) => {
        const onward = keep(connect(Number(target.port), target.hostname));
        keep(socket).pipe(onward);
        onward.on('data', (chunk: Buffer) => {
          if (answersAfterMs === 0) socket.write(chunk);
          else setTimeout(() => socket.write(chunk), answersAfterMs);
        });
        socket.on('close', () => onward.destroy());
        onward.on('close', () => socket.destroy());
      }).listen(Number(url.port), '127.0.0.1');
      await once(server, 'listening');
    },
    async block() {
      const closed = server && once(server, 'close');
      server?.close();
      server = undefined;
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  await way.open();
  return way;
}

function secret(): string {
  return randomBytes(24).toString('base64url');
}
