import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseEnv, url, type Env } from '../platform/env.ts';
import type { DatabaseName } from '../prisma/migrate.ts';

/** Where the three databases are, and how the workers get into theirs; null: their login is made by somebody else. */
export const readMigrateConfig = (
  env: Env = process.env,
): { databases: Record<DatabaseName, string>; workerUrl: string | null } => {
  const database = (name: string) =>
    url('postgresql', 'postgres').describe(`the URL of ${name}, postgresql://user:password@host:5432/${name}`);
  const vars = parseEnv(
    {
      USERS_DATABASE_URL: database('users_db'),
      TEMPLATES_DATABASE_URL: database('templates_db'),
      NOTIFICATIONS_DATABASE_URL: database('notifications_db'),
      WORKER_DATABASE_URL: url('postgresql', 'postgres').optional(),
    },
    env,
  );
  return {
    databases: {
      user: vars.USERS_DATABASE_URL,
      template: vars.TEMPLATES_DATABASE_URL,
      notification: vars.NOTIFICATIONS_DATABASE_URL,
    },
    workerUrl: vars.WORKER_DATABASE_URL ?? null,
  };
};

/** For the doctor, who asks every program how it would read it. */
export const readEnvironment = (): Env => process.env;

/**
 * Where `herald` asks, and with which key: what the command line says, else HERALD_URL and HERALD_API_KEY, else the key that `npm start` of
 * this checkout made, for a gateway on this machine. Null: none is known.
 */
export function readDoor(
  { root, url, key }: { root: string; url: string | undefined; key: string | undefined },
  env: Env = process.env,
): { url: string; key: string | null } {
  const gateway = url ?? env['HERALD_URL'] ?? 'http://127.0.0.1:8000';
  if (!URL.canParse(gateway)) throw new Error(`${gateway} is no URL: correct --url or HERALD_URL`);
  const isLocal = ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(gateway).hostname);
  const kept = () => (isLocal ? readKeptKey(resolve(root, env['DATA_DIR'] ?? '.data')) : null);
  return { url: gateway, key: key ?? env['HERALD_API_KEY'] ?? env['ADMIN_API_KEY']?.split(',')[0] ?? kept() };
}

function readKeptKey(dataDir: string): string | null {
  try {
    const { adminApiKey } = JSON.parse(readFileSync(join(dataDir, 'secrets.json'), 'utf8')) as {
      adminApiKey?: unknown;
    };
    return typeof adminApiKey === 'string' ? adminApiKey : null;
  } catch {
    return null;
  }
}
