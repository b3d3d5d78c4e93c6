import { z } from 'zod';
import { rateLimitVariables, toRates } from '../../platform/admission.ts';
import {
  count,
  logLevel,
  parseEnv,
  port,
  secretRing,
  serviceUrl,
  trustedProxies,
  url,
  type Env,
} from '../../platform/env.ts';
import { keyRing } from '../../platform/tokens.ts';
import { toTracing, tracingVariables } from '../../platform/tracing.ts';

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
      USER_SECRET: secretRing('what callers of this service sign with'),
      NOTIFICATION_URL: serviceUrl('http://127.0.0.1:8003'),
      NOTIFICATION_SECRET: secretRing('what the notification service expects requests to be signed with'),
      JWT_KEYS: keyRing.describe(
        'what access tokens are signed with, id:secret (32 characters or more); several parted by commas, the newest first',
      ),
      ACCESS_TOKEN_MINUTES: count(15),
      REFRESH_TOKEN_DAYS: count(30),
      ADMIN_API_KEY: secretRing("the admin's key"),
      TRUSTED_PROXIES: trustedProxies,
      ...rateLimitVariables,
      ...tracingVariables,
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
    jwtKeys: vars.JWT_KEYS,
    session: { accessSeconds: vars.ACCESS_TOKEN_MINUTES * 60, refreshDays: vars.REFRESH_TOKEN_DAYS },
    adminApiKey: vars.ADMIN_API_KEY,
    trustedProxies: vars.TRUSTED_PROXIES,
    rates: toRates(vars),
    tracing: toTracing(vars),
    logLevel: vars.LOG_LEVEL,
  };
};

export type UserConfig = ReturnType<typeof readConfig>;
