import { z } from 'zod';
import { logLevel, parseEnv, port, secret, serviceUrl, url, type Env } from '../../platform/env.ts';

/** The user service's environment. */
export const readConfig = (env: Env = process.env) => {
  const vars = parseEnv(
    {
      HOST: z.string().default('127.0.0.1'),
      PORT: port(8001),
      USERS_DATABASE_URL: url('postgresql', 'postgres').describe(
        'the URL of users_db, postgresql://user:password@host:5432/users_db',
      ),
      REDIS_URL: url('redis', 'rediss').describe('where preferences are cached, redis://host:6379'),
      CACHE_PREFIX: z.string().default(''),
      USER_SECRET: secret('what callers of this service sign with'),
      NOTIFICATION_URL: serviceUrl('http://127.0.0.1:8003'),
      NOTIFICATION_SECRET: secret('what the notification service expects requests to be signed with'),
      ADMIN_API_KEY: secret("the admin's key"),
      LOG_LEVEL: logLevel,
    },
    env,
  );
  return {
    host: vars.HOST,
    port: vars.PORT,
    databaseUrl: vars.USERS_DATABASE_URL,
    redisUrl: vars.REDIS_URL,
    cachePrefix: vars.CACHE_PREFIX,
    secret: vars.USER_SECRET,
    notificationUrl: vars.NOTIFICATION_URL,
    notificationSecret: vars.NOTIFICATION_SECRET,
    adminApiKey: vars.ADMIN_API_KEY,
    logLevel: vars.LOG_LEVEL,
  };
};

export type UserConfig = ReturnType<typeof readConfig>;
