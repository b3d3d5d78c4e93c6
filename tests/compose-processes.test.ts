import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createClient } from 'graphql-ws';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { WebSocket } from 'ws';
import { topologyNames } from '../contracts/topology.ts';
import { startMailbox, type Mailbox } from '../embedded/mailbox/start-mailbox.ts';
import { deleteFromBroker } from './amqp.ts';
import { readCompose, readEnv, type ComposeService } from './compose-file.ts';
import { freePort } from './private-process.ts';
import { startProgram, type Program } from './program.ts';
import { startRoundRobin } from './round-robin.ts';
import { until } from './until.ts';

/** The commands of docker-compose.yml, as processes: two of each service, the next one in turn behind one address. */

const [amqpUrl, redisUrl, postgresUrl] = [inject('amqpUrl'), inject('redisUrl'), inject('postgresUrl')];
const root = join(import.meta.dirname, '..');
const variables = readEnv('deploy/development.env');
const { services } = readCompose(variables);
const ours = Object.entries(services).filter(([, { build, restart }]) => build !== undefined && restart !== 'no');
const id = randomUUID().slice(0, 8);
const prefix = `compose-${id}.`;
const login = `mailer_${id}`;
const databases = ['users_db', 'templates_db', 'notifications_db'].map((name) => `${name}_${id}`);
const adminKey = variables['ADMIN_API_KEY'] ?? '';

describe.skipIf(amqpUrl === null || redisUrl === null)(
  'what docker-compose.yml starts, two of each',
  { timeout: 120_000 },
  () => {
    let mailbox: Mailbox;
    const doors = new Map<string, Awaited<ReturnType<typeof startRoundRobin>>>();
    const ports = new Map<string, number[]>();
    const running = new Map<string, Program>();

    /** What the file tells a service, with the addresses of this machine for those of the containers. */
    function environmentOf(
      name: string,
      { environment, env_file: files }: ComposeService,
      port = 0,
    ): NodeJS.ProcessEnv {
      const told: Record<string, string> = { ...Object.assign({}, ...files.map(readEnv)), ...environment };
      const moved = Object.entries(told).map(([variable, value]) => [variable, relocate(variable, value)]);
      return {
        ...Object.fromEntries(moved),
        PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`,
        HOST: '127.0.0.1',
        AMQP_PREFIX: prefix,
        CACHE_PREFIX: prefix,
        PUSH_SANDBOX_URL: `${mailbox.url}/api/v1/push`,
        ...(port > 0 && { PORT: String(port) }),
        ...(name.endsWith('-worker') && { LEASE_SECONDS: '6', PROVIDER_TIMEOUT_SECONDS: '3' }),
        ...(name === 'notification' && { LEASE_SECONDS: '6', RETRY_BASE_SECONDS: '1' }),
      };
    }

    function relocate(variable: string, value: string): string {
      if (variable === 'SMTP_URL') return mailbox.smtpUrl;
      if (!/_URL$/.test(variable)) return value;
      const url = new URL(value);
      if (url.hostname === 'redis') return redisUrl ?? '';
      if (url.hostname === 'rabbitmq') return amqpUrl ?? '';
      if (url.hostname === 'postgres') {
        const here = new URL(postgresUrl);
        here.pathname = `${url.pathname}_${id}`;
        // The owner is the test's own; the workers' login is made as the file says, under a name of its own.
        if (url.username !== 'herald') [here.username, here.password] = [login, url.password];
        return here.href;
      }
      const door = doors.get(url.hostname);
      return door === undefined ? value : `http://127.0.0.1:${door.port}`;
    }

    const start = (name: string, place: number) => {
      const service = services[name] as ComposeService;
      const [command = '', ...args] = service.command ?? [];
      const env = environmentOf(name, service, ports.get(name)?.[place]);
      running.set(`${name} ${place}`, startProgram(command, args, { cwd: root, env }));
    };
    const urlOf = (name: string) => `http://127.0.0.1:${doors.get(name)?.port}`;
    const rest = async (method: string, url: string, body?: object) => {
      const response = await fetch(url, {
        method,
        headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
      });
      return { status: response.status, body: (await response.json()) as Record<string, never> };
    };
    const isReady = async (port: number) =>
      (await fetch(`http://127.0.0.1:${port}/ready`).catch(() => null))?.status === 200;
    const allReady = () =>
      until(async () => (await Promise.all([...ports.values()].flat().map(isReady))).every(Boolean), {
        timeoutMs: 60_000,
      });

    beforeAll(async () => {
      mailbox = await startMailbox({ smtpPort: 0, httpPort: 0, host: '127.0.0.1', log: () => {} });
      for (const [name] of ours) {
        ports.set(name, [await freePort(), await freePort()]);
        doors.set(name, await startRoundRobin(ports.get(name) ?? []));
      }
    });
    afterAll(async () => {
      for (const program of running.values()) if (!program.hasEnded()) program.signal('SIGTERM');
      for (const program of running.values()) await program.ended;
      for (const door of doors.values()) await door.stop();
      await mailbox?.stop();
      await administer(`SELECT mark FROM broker_mark`, databases[2])
        .then(({ rows }) => {
          const { queues, direct, events, markQueue } = topologyNames(prefix);
          const marks = rows.map(({ mark }: { mark: string }) => markQueue(mark));
          return deleteFromBroker(amqpUrl ?? '', {
            queues: [...Object.values(queues), ...marks],
            exchanges: [direct, events],
          });
        })
        .catch(() => {});
      for (const name of databases) await administer(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
      await administer(`DROP ROLE IF EXISTS "${login}"`);
    });

    test('the migration makes the databases and the login of the workers, and a second run changes nothing', async () => {
      const migrate = async () => {
        const service = services['migrate'] as ComposeService;
        const [command = '', ...args] = service.command ?? [];
        const program = startProgram(command, args, { cwd: root, env: environmentOf('migrate', service) });
        expect(await program.ended, program.output()).toEqual({ code: 0, signal: null });
        return program.output();
      };
      expect(await migrate()).toMatch(
        new RegExp(
          `^user: created, applied .*\\ntemplate: created, applied .*\\nnotification: created, applied .*\\nworkers: log in as ${login}\\n$`,
        ),
      );
      expect(await migrate()).toBe(
        `user: up to date\ntemplate: up to date\nnotification: up to date\nworkers: log in as ${login}\n`,
      );
      const asWorker = new URL(postgresUrl);
      [asWorker.username, asWorker.password] = [login, variables['WORKER_DATABASE_PASSWORD'] ?? ''];
      asWorker.pathname = `/${databases[2]}`;
      await expect(query(asWorker.href, 'SELECT * FROM content')).rejects.toThrow(/permission denied/);
    });

    test('they come up in any order, and say so', async () => {
      for (const [name] of ours.toReversed()) for (const place of [0, 1]) start(name, place);
      await allReady();
    });

    test('a user, a template, sends and live statuses cross all of them', async () => {
      const user = await rest('POST', `${urlOf('user')}/api/v1/users/`, {
        name: 'Ada',
        email: `${id}@example.com`,
        push_token: `device-${id}`,
        password: 'correct horse',
      });
      const template = await rest('POST', `${urlOf('template')}/api/v1/templates/`, {
        code: 'hello',
        email: { subject: 'Hello', html: '<p>{{ name }}</p>' },
        push: { title: 'Hello', body: '{{ name }}' },
      });
      expect([user.status, template.status]).toEqual([201, 201]);

      const seen = new Map<string, string[]>();
      const client = createClient({
        url: `${urlOf('gateway').replace('http', 'ws')}/graphql`,
        connectionParams: { authorization: `Bearer ${adminKey}` },
        webSocketImpl: WebSocket,
        // Its own retry would subscribe with the cursor it began with, or with none.
        retryAttempts: 0,
      });
      let cursor: string | undefined;
      const query = `subscription ($userId: ID!, $after: String) {
      notificationStatusChanged(userId: $userId, after: $after) { cursor status notification { id } } }`;
      const variablesOf = () => ({ userId: user.body['id'], ...(cursor !== undefined && { after: cursor }) });
      let isOver = false;
      const watching = (async () => {
        while (!isOver) {
          try {
            for await (const { data } of client.iterate<{ notificationStatusChanged: Event }>({
              query,
              variables: variablesOf(),
            })) {
              if (!data) continue;
              const { status, notification, cursor: next } = data.notificationStatusChanged;
              cursor = next;
              seen.set(notification.id, [...(seen.get(notification.id) ?? []), status]);
            }
          } catch {
            // Its gateway went; the next one goes on behind the cursor.
          }
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      })();

      const sent: string[] = [];
      const send = async (count: number) => {
        for (let done = 0; done < count; done += 1) {
          const body = {
            notification_type: done % 4 === 0 ? 'push' : 'email',
            user_id: user.body['id'],
            template_code: 'hello',
            variables: { name: String(done) },
            request_id: randomUUID(),
          };
          const answer = await until(async () => {
            const { status, body: given } = await rest('POST', `${urlOf('gateway')}/api/v1/notifications/`, body);
            return status === 202 && given;
          });
          sent.push(String(answer['notification_id']));
        }
      };
      await until(async () => {
        await send(1);
        return seen.size > 0;
      });
      await send(40);
      // One of each goes while the others serve, and comes back.
      for (const [name] of ours) {
        running.get(`${name} 1`)?.signal('SIGTERM');
        await send(10);
        expect(await running.get(`${name} 1`)?.ended, name).toEqual({ code: 0, signal: null });
        start(name, 1);
      }
      await allReady();
      await send(20);

      await until(async () => (await pending()) === 0, { timeoutMs: 40_000, everyMs: 100 });
      const known = sent.filter((one) => seen.has(one));
      expect(known.length).toBeGreaterThan(100);
      await until(() => known.every((one) => seen.get(one)?.at(-1) === 'DELIVERED'), { timeoutMs: 20_000 });
      const mails = (await (await fetch(`${mailbox.url}/api/v1/messages?limit=1000`)).json()) as {
        messages: unknown[];
      };
      const pushes = (await (await fetch(`${mailbox.url}/api/v1/push?limit=1000`)).json()) as { messages: unknown[] };
      expect(mails.messages.length + pushes.messages.length).toBe(sent.length);
      isOver = true;
      await client.dispose();
      await watching;
    });

    test('what CI asks of an image is answered, and so is the health check of the proxy', async () => {
      const urls = { GATEWAY_URL: urlOf('gateway'), USER_URL: urlOf('user'), TEMPLATE_URL: urlOf('template') };
      const smoke = startProgram(process.execPath, ['scripts/smoke.mjs'], {
        cwd: root,
        env: { ...variables, ...urls },
      });
      expect(await smoke.ended, smoke.output()).toEqual({ code: 0, signal: null });
      expect(smoke.output()).toMatch(/is delivered/);

      const [, command = '', ...args] = services['proxy']?.healthcheck?.test ?? [];
      const check = async (ports: string) => {
        const moved = args.map((arg) => arg.replace('8000 8001 8002', ports));
        const program = startProgram(command, moved, { cwd: root, env: { PATH: process.env.PATH } });
        return (await program.ended).code;
      };
      const doorsOfAll = ['gateway', 'user', 'template'].map((name) => doors.get(name)?.port);
      expect(await check(doorsOfAll.join(' '))).toBe(0);
      expect(await check([...doorsOfAll.slice(0, 2), await freePort()].join(' '))).toBe(1);
    });

    test('both of each service had their share', async () => {
      for (const [name] of ours.filter(([service]) => !service.endsWith('-worker')))
        for (const count of doors.get(name)?.taken ?? []) expect(count, name).toBeGreaterThan(0);
      for (const name of ['email-worker', 'push-worker'])
        for (const port of ports.get(name) ?? []) {
          const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
          expect(metrics, `${name} at ${port}`).toMatch(/^herald_handled_total\{.*\} [1-9]/m);
        }
    });

    const pending = async () =>
      Number(
        (await administer(`SELECT count(*) FROM notification WHERE status = 'pending'`, databases[2])).rows[0].count,
      );
  },
);

type Event = { cursor: string; status: string; notification: { id: string } };

const administer = (text: string, database?: string) => {
  const url = new URL(postgresUrl);
  if (database !== undefined) url.pathname = `/${database}`;
  return query(url.href, text);
};

async function query(url: string, text: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}
