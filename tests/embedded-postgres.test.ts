import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ensureDatabase, type Postgres, startPostgres } from '../embedded/postgres.ts';
import { locateBinaries } from '../embedded/postgres/binaries.ts';

const isRoot = process.getuid?.() === 0;
const nobodyCanRun = isRoot && canNobodyRun((await locateBinaries()).postgres);
const password = 'a pass/word:ä';
let folder: string;
let dataDir: string;
let lines: string[];
let running: Postgres[];

describe('embedded PostgreSQL', { timeout: 30_000 }, () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'herald-postgres-'));
    dataDir = join(folder, 'postgres');
  });
  afterAll(() => rm(folder, { recursive: true }));
  beforeEach(() => {
    lines = [];
    running = [];
  });
  afterEach(() => Promise.all(running.map((postgres) => postgres.stop())));

  it('creates its data at the first start, for its owner only, and keeps it over a restart', async () => {
    const first = await start();
    await query(first, 'CREATE TABLE kept AS SELECT 7 AS value');
    expect((await query(first, 'SHOW fsync'))[0]).toEqual({ fsync: 'on' });
    expect((await query(first, 'SHOW server_encoding'))[0]).toEqual({ server_encoding: 'UTF8' });
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
    expect(await readdir(folder)).toEqual(expect.arrayContaining(['postgres', 'postgres.log']));
    expect(await readdir(folder)).toHaveLength(2);
    await first.stop();
    await first.stop();
    await expect(query(first, 'SELECT 1')).rejects.toThrow(/ECONNREFUSED/);

    expect(await query(await start(), 'SELECT value FROM kept')).toEqual([{ value: 7 }]);
    expect(lines.filter((line) => line.includes('creating'))).toHaveLength(1);
  });

  it('starts warm in under a second', async () => {
    const before = performance.now();
    await start();
    expect(performance.now() - before).toBeLessThan(1000);
  });

  it('refuses a wrong password', async () => {
    await expect(start({ password: 'another one' })).rejects.toThrow(/another password/);
    const postgres = await start();
    await expect(connect(postgres.adminUrl.replace(/:[^:]*@/, ':wrong@'))).rejects.toThrow(/password/);
  });

  it('creates a database once, whatever its name and however many ask', async () => {
    const postgres = await start();
    await Promise.all([1, 2, 3].map(() => ensureDatabase(postgres, 'odd "name" 100%')));
    await ensureDatabase(postgres, 'odd "name" 100%');
    const client = await connect(postgres.urlOf('odd "name" 100%'));
    expect((await client.query('SELECT current_database() AS name')).rows).toEqual([{ name: 'odd "name" 100%' }]);
    await client.end();
  });

  it('stops the survivor of a killed run, on another port too, and loses nothing that was committed', async () => {
    const survivor = await startInChildAndKill(await freePort());
    expect(isAlive(survivor.pid)).toBe(true);
    const postgres = await start();
    expect(lines.join()).toContain(`left behind (process ${survivor.pid})`);
    expect(await query(postgres, 'SELECT count(*)::int AS count FROM committed')).toEqual([{ count: 1 }]);
    await expect(connect(survivor.url)).rejects.toThrow(/ECONNREFUSED/);
    await query(postgres, 'DROP TABLE committed');
  });

  it('leaves the database of a living run alone', async () => {
    const postgres = await start();
    await expect(start()).rejects.toThrow(`in use by another run (process ${process.pid})`);
    expect(await query(postgres, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('starts over the pid file of a dead process, and of a process that got the number later', async () => {
    const pidFile = join(dataDir, 'postmaster.pid');
    const dead = spawn(process.execPath, ['-e', '']);
    await once(dead, 'exit');
    await writeFile(pidFile, `${dead.pid}\n${dataDir}\n1\n5432\n\n127.0.0.1\n`, { mode: 0o600 });
    await (await start()).stop();

    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    await writeFile(pidFile, `${stranger.pid}\n${dataDir}\n1\n5432\n\n127.0.0.1\n`, { mode: 0o600 });
    await start();
    expect(stranger.exitCode).toBeNull();
    stranger.kill();
  });

  it('says which port is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    await expect(start({ port: address.port })).rejects.toThrow(`Port ${address.port} is taken`);
    server.close();
  });

  it("shows the end of the server's log when it doesn't come up", async () => {
    const other = join(folder, 'broken', 'postgres');
    await (await start({ dataDir: other })).stop();
    await writeFile(join(other, 'postgresql.conf'), 'no_such_setting = 1\n', { flag: 'a' });
    await expect(start({ dataDir: other })).rejects.toThrow(/broken\/postgres\.log[^]*no_such_setting/);
  });

  it('begins anew after a first start that was killed midway, and refuses a folder of something else', async () => {
    const other = join(folder, 'killed', 'postgres');
    const starting = new AbortController();
    const failed = start({ dataDir: other, signal: starting.signal });
    await wait(100).then(() => starting.abort());
    await expect(failed).rejects.toThrow(/abort/);
    await mkdir(`${other}.initializing/data`, { recursive: true });
    await writeFile(`${other}.initializing/data/PG_VERSION`, '18\n');
    await start({ dataDir: other });
    expect(await readdir(dirname(other))).toHaveLength(2);

    await mkdir(join(folder, 'photos'));
    await writeFile(join(folder, 'photos', 'cat.jpg'), '');
    await expect(start({ dataDir: join(folder, 'photos') })).rejects.toThrow(/photos is not a PostgreSQL data folder/);
  });

  it('reports a server that ends by itself', async () => {
    const postgres = await start();
    process.kill(await postmasterPid(), 'SIGINT');
    while (lines.length === 0) await wait(10);
    expect(lines.join()).toMatch(/ended unexpectedly \(exit code 0\); see .*postgres\.log/);
    await postgres.stop();
  });

  it.runIf(isRoot)('runs for root in a folder that only root may enter', async () => {
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    await start();
    const pid = await postmasterPid();
    expect(await readFile(`/proc/${pid}/uid_map`, 'utf8')).toMatch(/^\s*(1000|65534)\s+0\s+1\s*$/);
  });

  it.runIf(nobodyCanRun)('gives up root where namespaces are forbidden, and takes the data both ways', async () => {
    const path = process.env['PATH'];
    const fakes = join(folder, 'bin');
    await mkdir(fakes);
    await writeFile(join(fakes, 'unshare'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    process.env['PATH'] = `${fakes}:${path}`;
    try {
      await expect(start()).rejects.toThrow(/ordinary user, or move the checkout/);
      await chmod(folder, 0o755);
      await (await start()).stop();
      expect((await stat(join(dataDir, 'base', '1'))).uid).toBe(65534);
    } finally {
      process.env['PATH'] = path;
      await chmod(folder, 0o700);
    }
    await start();
    expect((await stat(join(dataDir, 'base', '1'))).uid).toBe(0);
  });

  it.runIf(nobodyCanRun)(
    'runs for root as the ordinary user whose folder it is, who can go on with the data',
    async () => {
      const theirs = await mkdtemp(join(tmpdir(), 'herald-postgres-'));
      await chown(theirs, 1, 1);
      const other = join(theirs, 'postgres');
      await (await start({ dataDir: other })).stop();
      await chmod(theirs, 0o755); // from here on a namespace would do as well
      await (await start({ dataDir: other })).stop();
      expect((await stat(join(other, 'base', '1'))).uid).toBe(1);
      expect((await stat(join(theirs, 'postgres.log'))).uid).toBe(1);
      await rm(theirs, { recursive: true });
    },
  );
});

async function start(options: Partial<Parameters<typeof startPostgres>[0]> = {}): Promise<Postgres> {
  const postgres = await startPostgres({
    dataDir,
    port: await freePort(),
    password,
    log: (line) => void lines.push(line),
    ...options,
  });
  running.push(postgres);
  return postgres;
}

/** Starts the database in a process of its own, commits a row and kills that process. */
async function startInChildAndKill(port: number): Promise<{ pid: number; url: string }> {
  const script = `
    import { startPostgres } from ${JSON.stringify(new URL('../embedded/postgres.ts', import.meta.url).href)};
    const { adminUrl } = await startPostgres({ ...${JSON.stringify({ dataDir, port, password })}, log: console.error });
    console.log(adminUrl);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [url] = await once(child.stdout.setEncoding('utf8'), 'data');
  const client = await connect(String(url).trim());
  await client.query('CREATE TABLE committed AS SELECT 1');
  await client.end();
  const pid = await postmasterPid();
  child.kill('SIGKILL');
  await once(child, 'exit');
  return { pid, url: String(url).trim() };
}

async function query(postgres: Postgres, sql: string): Promise<unknown[]> {
  const client = await connect(postgres.adminUrl);
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return client;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

const postmasterPid = async (): Promise<number> =>
  Number((await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0]);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function canNobodyRun(binary: string): boolean {
  try {
    execFileSync(binary, ['--version'], { uid: 65534, gid: 65534, cwd: '/' });
    return true;
  } catch {
    return false;
  }
}
