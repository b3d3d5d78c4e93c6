import { ConfigError, type Env } from '../platform/env.ts';
import type { Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import { adapters, type AdapterOptions } from './adapters.ts';
import { withBreaker, type BreakerSettings, type GuardedProvider } from './breaker.ts';
import { createUnusable } from './unusable.ts';

/** The providers of one worker, in the order in which they are tried. */
export type Providers = Running & {
  chain: readonly GuardedProvider[];
  /** Whether any of them would be tried. */
  isAvailable(): boolean;
  /** Called at each change of state of any of them. */
  onChange(listener: () => void): void;
};

/**
 * Creates the chain and asks each provider, beside, whether it is set up well. One that is not is paused and says so; it
 * never keeps the worker from starting.
 * @param env what the providers' variables are read from
 */
export function createProviders(
  names: readonly string[],
  env: Env,
  { breaker, ...options }: AdapterOptions & { breaker: BreakerSettings },
): Providers {
  const chain = names.map((name) => createOne(name, env, breaker, options));
  const checking = Promise.all(chain.map((provider) => provider.check(AbortSignal.timeout(options.timeoutMs))));
  return {
    chain,
    isAvailable: () => chain.some((provider) => provider.isAvailable()),
    onChange(listener) {
      for (const provider of chain) provider.onChange(listener);
    },
    async stop() {
      await checking;
      for (const provider of chain) await provider.stop();
    },
  };
}

function createOne(name: string, env: Env, breaker: BreakerSettings, options: AdapterOptions): GuardedProvider {
  const adapter = adapters[name];
  if (adapter === undefined)
    throw new ConfigError([`${name} is no provider: there are ${Object.keys(adapters).join(', ')}`]);
  try {
    return withBreaker(adapter.create(env, options), breaker, options.log);
  } catch (error) {
    return createUnusable(name, adapter.takes, toFaults(error, name, options.log), options.log);
  }
}

/** An error that nobody foresaw may quote a key, and a reason is stored and shown. */
function toFaults(error: unknown, name: string, log: Logger): readonly string[] {
  if (error instanceof ConfigError) return error.faults;
  const { name: kind, stack } = error instanceof Error ? error : new Error(String(error));
  log.error({ provider: name, stack }, 'a provider threw as it was set up');
  return [`${name} could not be set up with its variables (${kind}): the worker's log says more`];
}
