import { z } from 'zod';
import { logLevel, parseEnv, port, secret, url, type Env } from '../../platform/env.ts';

/** The template service's environment. */
export const readConfig = (env: Env = process.env) => {
  const vars = parseEnv(
    {
      HOST: z.string().default('127.0.0.1'),
      PORT: port(8002),
      TEMPLATES_DATABASE_URL: url('postgresql', 'postgres').describe(
        'the URL of templates_db, postgresql://user:password@host:5432/templates_db',
      ),
      TEMPLATE_SECRET: secret('what callers of this service sign with'),
      ADMIN_API_KEY: secret("the admin's key"),
      LOG_LEVEL: logLevel,
    },
    env,
  );
  return {
    host: vars.HOST,
    port: vars.PORT,
    databaseUrl: vars.TEMPLATES_DATABASE_URL,
    secret: vars.TEMPLATE_SECRET,
    adminApiKey: vars.ADMIN_API_KEY,
    logLevel: vars.LOG_LEVEL,
  };
};

export type TemplateConfig = ReturnType<typeof readConfig>;
