import type { NotificationType } from '../contracts/jobs.ts';
import { ConfigError, type Env } from '../platform/env.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { adapters } from './adapters.ts';
import { readProviderNames } from './config.ts';
import type { Provider } from './provider.ts';

const TIMEOUT_MS = 10_000;

/**
 * For each provider that a worker of this type would use: a check that asks it, without sending anything, whether it would take
 * messages from us.
 * @throws ConfigError when the chain itself is wrong
 */
export const checkProviders = (type: NotificationType, env: Env) =>
  readProviderNames(type, env).map((name) => ({
    name: `${type} provider ${name}`,
    run: async (): Promise<string> => {
      const log = createLogger('doctor', 'silent');
      const provider = createOne(name, env, log);
      try {
        await provider.check(AbortSignal.timeout(TIMEOUT_MS));
      } finally {
        await provider.stop();
      }
      return 'takes messages from us';
    },
  }));

function createOne(name: string, env: Env, log: Logger): Provider {
  const adapter = adapters[name];
  if (adapter === undefined) throw new Error(`there is no provider ${name}`);
  try {
    return adapter.create(env, { timeoutMs: TIMEOUT_MS, concurrency: 1, log });
  } catch (error) {
    if (error instanceof ConfigError) throw new Error(error.faults.join('; '), { cause: error });
    throw error;
  }
}
