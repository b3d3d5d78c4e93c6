import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '../platform/logger.ts';
import type { Claim } from './claims.ts';

/** Short enough to go on soon, long enough to be no load on a service that is coming back. */
const PAUSE_MS = 1_000;

/**
 * Creates what finds out when users can be known again. While they can't, the consumer is to pause: every job would only be
 * claimed, wait, and go back.
 * @param options.isKnowable whether the user of this claim can be known now
 */
export function createProbe(options: {
  isKnowable: (claim: Claim) => Promise<boolean>;
  log: Logger;
  signal: AbortSignal;
}) {
  const { isKnowable, log, signal } = options;
  const listeners: (() => void)[] = [];
  let probing: Promise<void> | null = null;

  const probe = async (claim: Claim) => {
    const since = performance.now();
    log.warn(
      { notificationId: claim.id, correlationId: claim.correlationId },
      'preferences are unknowable: nothing is sent until somebody answers',
    );
    do await wait(PAUSE_MS * (0.5 + Math.random()));
    while (!signal.aborted && !(await isKnowable(claim)));
    log.info({ ms: Math.round(performance.now() - since) }, 'preferences can be known again');
  };
  const tell = () => {
    for (const listener of listeners) listener();
  };

  return {
    isProbing: () => probing !== null,
    /** Asks until there is an answer; one question at a time, whoever calls. */
    start(claim: Claim) {
      probing ??= probe(claim).finally(() => {
        probing = null;
        tell();
      });
      tell();
    },
    /** Called when it starts or ends. */
    onChange: (listener: () => void) => listeners.push(listener),
    async stop() {
      await probing;
    },
  };
}
