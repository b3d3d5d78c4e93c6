import { parseEnv, url, type Env } from '../platform/env.ts';
import type { DatabaseName } from '../prisma/migrate.ts';

/** Where the three databases are. */
export const readConfig = (env: Env = process.env): Record<DatabaseName, string> => {
  const database = (name: string) =>
    url('postgresql', 'postgres').describe(`the URL of ${name}, postgresql://user:password@host:5432/${name}`);
  const vars = parseEnv(
    {
      USERS_DATABASE_URL: database('users_db'),
      TEMPLATES_DATABASE_URL: database('templates_db'),
      NOTIFICATIONS_DATABASE_URL: database('notifications_db'),
    },
    env,
  );
  return {
    user: vars.USERS_DATABASE_URL,
    template: vars.TEMPLATES_DATABASE_URL,
    notification: vars.NOTIFICATIONS_DATABASE_URL,
  };
};

/** For the doctor, who asks every program how it would read it. */
export const readEnvironment = (): Env => process.env;
