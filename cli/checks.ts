import { topologyNames } from '../contracts/topology.ts';
import { readConfig as readGateway } from '../gateway/config.ts';
import { ConfigError, type Env } from '../platform/env.ts';
import { toRing } from '../platform/secret-ring.ts';
import { readConfig as readNotification } from '../subgraphs/notification/config.ts';
import { readConfig as readTemplate } from '../subgraphs/template/config.ts';
import { readConfig as readUser } from '../subgraphs/user/config.ts';
import { checkProviders } from '../workers/check-providers.ts';
import { readConfig as readWorker } from '../workers/config.ts';
import { checkDatabase, checkRabbitmq, checkRedis } from './check-stores.ts';
import { checkAdminKey, checkPublicUrl, checkService, checkWorkerKey } from './check-services.ts';

/** One thing to look at. `run` says what it found, or rejects with what is wrong and the mend. */
export type Check = { name: string; run: () => Promise<string> };

/** Everything that the environment names, in the order in which one would mend it. */
export function createChecks(env: Env): Check[] {
  const names = topologyNames(env['AMQP_PREFIX'] ?? '');
  return [
    ...checkVariables(env),
    ...of(env['USERS_DATABASE_URL'], 'users_db', (url) => checkDatabase('user', url)),
    ...of(env['TEMPLATES_DATABASE_URL'], 'templates_db', (url) => checkDatabase('template', url)),
    ...of(env['NOTIFICATIONS_DATABASE_URL'], 'notifications_db', (url) => checkDatabase('notification', url)),
    ...of(env['AMQP_URL'], 'RabbitMQ', (url) => checkRabbitmq(url, names)),
    ...of(env['REDIS_URL'], 'Redis', checkRedis),
    service('user service', env['USER_URL'] ?? 'http://127.0.0.1:8001'),
    service('template service', env['TEMPLATE_URL'] ?? 'http://127.0.0.1:8002'),
    service('notification service', env['NOTIFICATION_URL'] ?? 'http://127.0.0.1:8003'),
    service('gateway', gatewayOf(env)),
    ...of(env['ADMIN_API_KEY'], 'ADMIN_API_KEY at the gateway', (keys) =>
      checkAdminKey(gatewayOf(env), toRing(keys)[0].secret),
    ),
    ...of(env['WORKER_API_KEY'], 'WORKER_API_KEY at the gateway', (keys) =>
      checkWorkerKey(gatewayOf(env), toRing(keys)[0].secret),
    ),
    { name: 'PUBLIC_URL', run: () => checkPublicUrl(env['PUBLIC_URL'] ?? 'http://127.0.0.1:8000') },
    ...providers('email', env),
    ...providers('push', env),
  ];
}

const gatewayOf = (env: Env) => env['GATEWAY_URL'] ?? 'http://127.0.0.1:8000';

/** Each faulty variable once, with the programs that need it. */
function checkVariables(env: Env): Check[] {
  const faults = new Map<string, { fault: string; programs: string[] }>();
  for (const [program, read] of Object.entries(programs)) {
    for (const fault of faultsOf(() => read(env))) {
      // What it is for is told in each program's own words; the first will do.
      const key = fault.split(':', 1)[0] ?? fault;
      const known = faults.get(key);
      if (known) known.programs.push(program);
      else faults.set(key, { fault, programs: [program] });
    }
  }
  if (faults.size === 0) return [{ name: 'variables', run: async () => 'complete for every program' }];
  return [...faults.values()].map(({ fault, programs: needing }) => ({
    name: `variables of ${needing.join(', ')}`,
    run: () => Promise.reject(new Error(fault)),
  }));
}

const programs: Record<string, (env: Env) => unknown> = {
  gateway: readGateway,
  user: readUser,
  template: readTemplate,
  notification: readNotification,
  'email worker': (env) => readWorker(env, 'email'),
  'push worker': (env) => readWorker(env, 'push'),
};

function faultsOf(read: () => unknown): string[] {
  try {
    read();
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
}

const service = (name: string, url: string): Check => ({ name: `${name} at ${url}`, run: () => checkService(url) });

/** A check of what a variable names; none where it is not set: its absence is told with the variables. */
const of = (value: string | undefined, name: string, check: (value: string) => Promise<string>): Check[] =>
  value === undefined || value === '' ? [] : [{ name, run: () => check(value) }];

function providers(type: 'email' | 'push', env: Env): Check[] {
  try {
    return checkProviders(type, env);
  } catch (error) {
    // Told with the worker's variables.
    if (error instanceof ConfigError) return [];
    throw error;
  }
}
