import type { Logger } from '../platform/logger.ts';
import type { GuardedProvider } from './breaker.ts';
import type { TargetKind } from './provider.ts';

/**
 * A provider whose variables are missing or wrong: paused for good, so that others of the chain take over or the jobs wait until
 * somebody has mended it.
 * @param faults one line per variable: its name, what is wrong, the mend
 */
export function createUnusable(
  name: string,
  takes: readonly TargetKind[],
  faults: readonly string[],
  log: Logger,
): GuardedProvider {
  const reason = faults.join('; ');
  log.error(
    { provider: name, reason },
    `nothing can be sent by ${name} until its variables are mended and the worker is restarted`,
  );
  return {
    name,
    takes,
    isAvailable: () => false,
    state: () => ({ state: 'paused', reason }),
    admit: async () => null,
    send: async () => ({ class: 'not_sent', reason }),
    onChange: () => {},
    check: async () => {},
    stop: async () => {},
  };
}
