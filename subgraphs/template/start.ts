import { ADMIN, TEMPLATE_SERVICE, toClientViewer } from '../../contracts/scopes.ts';
import { createAdmission } from '../../platform/admission.ts';
import { createAuthenticator } from '../../platform/credentials.ts';
import { createRemoteKeyLookup } from '../../platform/key-lookup.ts';
import { startAll } from '../../platform/lifecycle.ts';
import { createLogger, type Logger } from '../../platform/logger.ts';
import { pingService } from '../../platform/http.ts';
import { createPool } from '../../platform/postgres.ts';
import { createRateLimits } from '../../platform/rate-limit.ts';
import { createServiceClient } from '../../platform/service-client.ts';
import { createTracer } from '../../platform/tracing.ts';
import { serveSubgraph } from '../serve.ts';
import type { TemplateConfig } from './config.ts';
import { createResolvers } from './resolvers.ts';
import { createStore } from './store.ts';

/** To say whose a key is. */
const USER_TIMEOUT_MS = 2_000;

/** Starts the template service (8002): templates_db, GraphQL and REST. */
export const startTemplate = (config: TemplateConfig, overrides: { log?: Logger } = {}) =>
  startAll(async (started) => {
    const log = overrides.log ?? createLogger('template', config.logLevel);
    const tracer = started.add('the tracer', await createTracer('template', config.tracing, log));
    const pool = createPool(config.databaseUrl, { max: 10, log });
    started.onStop('templates_db', () => pool.end());
    const store = createStore(pool);
    started.onStop('the Prisma client', () => store.stop());
    const users = started.add(
      'the user client',
      createServiceClient({
        url: config.userUrl,
        callee: 'user',
        caller: 'template',
        secret: config.userSecret,
        timeoutMs: USER_TIMEOUT_MS,
      }),
    );
    const limits = started.add(
      'the rate limits',
      createRateLimits({ url: config.redisUrl, prefix: config.cachePrefix, log }),
    );
    const server = await serveSubgraph({
      name: 'template',
      pool,
      host: config.host,
      port: config.port,
      secret: config.secret,
      trustedProxies: config.trustedProxies,
      resolvers: createResolvers({ pool, store }),
      tracer,
      log,
      checks: {
        required: { postgres: () => pool.query('SELECT 1') },
        optional: { user: () => pingService(config.userUrl), cache: () => limits.ping() },
      },
      rest: {
        tags: ['Templates'],
        authenticate: createAuthenticator([{ keys: config.adminApiKey, viewer: ADMIN }], {
          findKey: createRemoteKeyLookup(users, TEMPLATE_SERVICE, toClientViewer),
        }),
        admission: createAdmission(limits, config.rates),
      },
    });
    started.add('the server', server);
    log.info({ port: server.port }, 'the template service is up');
    return { port: server.port };
  });
