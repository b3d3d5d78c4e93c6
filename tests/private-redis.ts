import { readFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { findBinary } from './find-binary.ts';
import { makeFolder } from './private-folder.ts';
import { freePort, freezeProcess, startProcess, type PrivateProcess } from './private-process.ts';
import { until } from './until.ts';

/** Starts a Redis (or Valkey) of its own on a free port of 127.0.0.1, in memory only. It dies with this process. */
export async function startPrivateRedis(): Promise<PrivateRedis> {
  const server = findRedis();
  if (!server) throw new Error('redis-server is not installed');
  const { path: folder, remove } = await makeFolder('redis');
  const port = await freePort();
  const logFile = join(folder, 'output.log');
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--appendonly',
    'no',
    '--dir',
    folder,
    '--daemonize',
    'no',
  ];

  let redis: PrivateProcess;
  const start = async () => {
    redis = startProcess(server, args, { logFile });
    await until(() => answers(port, redis), { timeoutMs: 10_000, everyMs: 20 }).catch(async (cause: unknown) => {
      throw new Error(`the private Redis did not start: ${(await readFile(logFile, 'utf8')).slice(-2000)}`, { cause });
    });
  };
  const stop = async () => {
    await redis.kill();
    await remove();
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }

  return {
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return redis.pid;
    },
    freeze: () => freezeProcess(redis.pid),
    thaw: () => void process.kill(redis.pid, 'SIGCONT'),
    kill9: () => redis.kill(),
    async restart() {
      await redis.kill();
      await start();
    },
    stop,
  };
}

export const findRedis = (): string | null => findBinary('redis-server') ?? findBinary('valkey-server');

async function answers(port: number, redis: PrivateProcess): Promise<boolean> {
  if (!redis.running()) throw new Error('it ended');
  const socket = createConnection(port, '127.0.0.1');
  try {
    socket.write('PING\r\n');
    for await (const chunk of socket) return String(chunk).startsWith('+PONG');
    return false;
  } finally {
    socket.destroy();
  }
}

export type PrivateRedis = {
  url: string;
  readonly pid: number;
  /** SIGSTOP: it holds its connections and answers nothing, as behind a cut cable. */
  freeze(): Promise<void>;
  thaw(): void;
  kill9(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
};
