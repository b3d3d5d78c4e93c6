import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connect } from 'amqplib';
import { findBinary } from './find-binary.ts';
import { makeFolder } from './private-folder.ts';
import { freePort, freezeProcess, startProcess, type PrivateProcess } from './private-process.ts';
import { until } from './until.ts';

/**
 * Starts a RabbitMQ node with its own name, port, folder and epmd, all on 127.0.0.1. It knows nothing of a node the
 * machine may already run, and dies with this process.
 */
export async function startPrivateRabbitmq(): Promise<PrivateRabbitmq> {
  const server = findRabbitmq();
  if (!server) throw new Error('rabbitmq-server is not installed');
  const { path: folder, remove } = await makeFolder('rabbitmq');
  const [port, distPort, epmdPort] = [await freePort(), await freePort(), await freePort()];
  const url = `amqp://guest:guest@127.0.0.1:${port}`;
  const env = await prepare(folder, { port, distPort, epmdPort });

  const logFile = join(folder, 'output.log');
  const epmd = startProcess(findBinary('epmd') ?? 'epmd', ['-port', String(epmdPort), '-address', '127.0.0.1'], {
    env,
    logFile,
  });
  let node: PrivateProcess;
  let pid = 0;
  const start = async () => {
    node = startProcess(server, [], { env, logFile });
    await until(() => answers(url, node), { timeoutMs: BOOT_TIMEOUT_MS, everyMs: 100 }).catch(
      async (cause: unknown) => {
        throw new Error(`the private RabbitMQ did not start: ${(await readFile(logFile, 'utf8')).slice(-2000)}`, {
          cause,
        });
      },
    );
    // The start script stays in front of the Erlang process, which writes this file.
    pid = Number(await readFile(join(folder, 'pid'), 'utf8'));
  };
  const stop = async () => {
    await node.kill();
    await epmd.kill();
    await remove();
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }

  return {
    url,
    get pid() {
      return pid;
    },
    freeze: () => freezeProcess(pid),
    thaw: () => void process.kill(pid, 'SIGCONT'),
    kill9: () => node.kill(),
    async restart() {
      await node.kill();
      await start();
    },
    async ctl(...args) {
      const { stdout } = await promisify(execFile)(
        findBinary('rabbitmqctl', [...DEBIAN_FOLDERS]) ?? 'rabbitmqctl',
        args,
        {
          env: { ...process.env, ...env },
        },
      );
      return stdout;
    },
    stop,
  };
}

/** The server's start script. Debian's own one in /usr/sbin changes to the user rabbitmq when root calls it; the one below doesn't. */
export const findRabbitmq = (): string | null => findBinary('rabbitmq-server', [...DEBIAN_FOLDERS]);

async function prepare(
  folder: string,
  ports: { port: number; distPort: number; epmdPort: number },
): Promise<Record<string, string>> {
  const config = join(folder, 'rabbitmq.conf');
  await writeFile(config, `listeners.tcp.default = 127.0.0.1:${ports.port}\ndisk_free_limit.absolute = 1MB\n`);
  const plugins = join(folder, 'enabled_plugins');
  await writeFile(plugins, '[].\n');
  const loopback = '-kernel inet_dist_use_interface {127,0,0,1}';
  return {
    HOME: folder,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(ports.epmdPort),
    RABBITMQ_NODENAME: `herald-${process.pid}-${ports.port}@localhost`,
    RABBITMQ_DIST_PORT: String(ports.distPort),
    RABBITMQ_PID_FILE: join(folder, 'pid'),
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_CONFIG_FILE: config,
    RABBITMQ_CONF_ENV_FILE: join(folder, 'no-env.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'no-advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: plugins,
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: loopback,
    RABBITMQ_CTL_ERL_ARGS: loopback,
  };
}

async function answers(url: string, node: PrivateProcess): Promise<boolean> {
  if (!node.running()) throw new Error('it ended');
  const connection = await connect(url);
  connection.on('error', () => {});
  await connection.close();
  return true;
}

const DEBIAN_FOLDERS = ['/usr/lib/rabbitmq/bin', '/usr/sbin', '/opt/homebrew/sbin', '/usr/local/sbin'];
const BOOT_TIMEOUT_MS = 60_000;

export type PrivateRabbitmq = {
  url: string;
  readonly pid: number;
  /** SIGSTOP: it holds its connections and answers nothing. */
  freeze(): Promise<void>;
  thaw(): void;
  /** SIGKILL to the node; its data and port stay for `restart`. */
  kill9(): Promise<void>;
  restart(): Promise<void>;
  /** rabbitmqctl for this node; returns its output. */
  ctl(...args: string[]): Promise<string>;
  stop(): Promise<void>;
};
