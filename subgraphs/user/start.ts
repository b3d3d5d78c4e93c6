import { ADMIN, toClientViewer, toUserViewer } from '../../contracts/scopes.ts';
import type { Cache } from '../../platform/cache/cache.ts';
import { createRedisCache } from '../../platform/cache/redis.ts';
import { createAdmission } from '../../platform/admission.ts';
import { createAuthenticator } from '../../platform/credentials.ts';
import { createKeyLookup } from '../../platform/key-lookup.ts';
import { pingService } from '../../platform/http.ts';
import { createPool } from '../../platform/postgres.ts';
import { startAll } from '../../platform/lifecycle.ts';
import { createLogger, type Logger } from '../../platform/logger.ts';
import { createTokenVerifier } from '../../platform/tokens.ts';
import { createRateLimits } from '../../platform/rate-limit.ts';
import { createServiceClient } from '../../platform/service-client.ts';
import { createTracer } from '../../platform/tracing.ts';
import { serveSubgraph } from '../serve.ts';
import { createApiKeyStore } from './api-key-store.ts';
import { createPreferencesCache } from './cache-preferences.ts';
import type { UserConfig } from './config.ts';
import { createResolvers } from './resolvers.ts';
import { createSessions } from './session.ts';
import { startTellingOthers } from './tell-others.ts';
import { createStore } from './store.ts';

/** Erasing goes through every notification of a user. */
const ERASE_TIMEOUT_MS = 10_000;

/** Starts the user service (8001): users_db, the preference cache, GraphQL and REST. */
export const startUser = (config: UserConfig, overrides: { cache?: Cache; log?: Logger } = {}) =>
  startAll(async (started) => {
    const log = overrides.log ?? createLogger('user', config.logLevel);
    const tracer = started.add('the tracer', await createTracer('user', config.tracing, log));
    const pool = createPool(config.databaseUrl, { max: 10, log });
    started.onStop('users_db', () => pool.end());
    const cache = overrides.cache ?? started.add('cache', createRedisCache(config.redisUrl, log));

    const store = createStore(pool);
    started.onStop('the Prisma client', () => store.stop());
    const keys = createApiKeyStore(pool);
    const toViewer = async (digest: string) => {
      const credential = await keys.findCredential(digest);
      return credential && toClientViewer(credential);
    };
    const preferences = createPreferencesCache(cache, config.cachePrefix, log);
    const notifications = started.add(
      'the notification client',
      createServiceClient({
        url: config.notificationUrl,
        callee: 'notification',
        caller: 'user',
        secret: config.notificationSecret,
        timeoutMs: ERASE_TIMEOUT_MS,
      }),
    );
    const others = started.add('the outbox', startTellingOthers({ store, preferences, notifications, log }));
    const limits = started.add(
      'the rate limits',
      createRateLimits({ url: config.redisUrl, prefix: config.cachePrefix, log }),
    );
    const sessions = createSessions(store, limits, config.jwtKeys, config.session);
    const verify = createTokenVerifier(config.jwtKeys);
    const server = await serveSubgraph({
      name: 'user',
      pool,
      host: config.host,
      port: config.port,
      secret: config.secret,
      trustedProxies: config.trustedProxies,
      resolvers: createResolvers({ pool, store, keys, preferences, sessions, onDeleted: others.wake }),
      tracer,
      log,
      checks: {
        required: { postgres: () => pool.query('SELECT 1') },
        optional: { cache: () => cache.ping(), notification: () => pingService(config.notificationUrl) },
      },
      rest: {
        tags: ['Users'],
        authenticate: createAuthenticator([{ keys: config.adminApiKey, viewer: ADMIN }], {
          findKey: createKeyLookup((digests) => Promise.all(digests.map(toViewer))),
          verifyToken: async (token) => {
            const valid = await verify(token);
            return valid && toUserViewer(valid.subject);
          },
        }),
        admission: createAdmission(limits, config.rates),
      },
    });
    started.add('the server', server);
    log.info({ port: server.port }, 'the user service is up');
    return { port: server.port };
  });
