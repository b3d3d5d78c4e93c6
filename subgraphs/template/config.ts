import { z } from 'zod';
import { rateLimitVariables, toRates } from '../../platform/admission.ts';
import { logLevel, parseEnv, port, secretRing, serviceUrl, trustedProxies, url, type Env } from '../../platform/env.ts';
import { toTracing, tracingVariables } from '../../platform/tracing.ts';

/** The template service's environment. */
export const readConfig = (env: Env = process.env) => {
  const vars = parseEnv(
    {
      HOST: z.string().default('127.0.0.1'),
      PORT: port(8002),
      TEMPLATES_DATABASE_URL: url('postgresql', 'postgres').describe(
        'the URL of templates_db, postgresql://user:password@host:5432/templates_db',
      ),
      TEMPLATE_SECRET: secretRing('what callers of this service sign with'),
      USER_URL: serviceUrl('http://127.0.0.1:8001'),
      USER_SECRET: secretRing('what the user service expects requests to be signed with'),
      ADMIN_API_KEY: secretRing("the admin's key"),
      REDIS_URL: url('redis', 'rediss').describe('where rates are counted, redis://host:6379'),
      CACHE_PREFIX: z.string().default(''),
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
    databaseUrl: vars.TEMPLATES_DATABASE_URL,
    secret: vars.TEMPLATE_SECRET,
    userUrl: vars.USER_URL,
    userSecret: vars.USER_SECRET,
    adminApiKey: vars.ADMIN_API_KEY,
    redisUrl: vars.REDIS_URL,
    cachePrefix: vars.CACHE_PREFIX,
    trustedProxies: vars.TRUSTED_PROXIES,
    rates: toRates(vars),
    tracing: toTracing(vars),
    logLevel: vars.LOG_LEVEL,
  };
};

export type TemplateConfig = ReturnType<typeof readConfig>;
