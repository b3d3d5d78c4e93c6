import CircuitBreaker from 'opossum';
import { ServiceUnavailable, type GraphQLAnswer, type ServiceClient } from '../../platform/service-client.ts';
import type { Logger } from '../../platform/logger.ts';

/** A time-out sooner than this says that the caller was in a hurry, not that the service is slow. */
const FAIR_TIMEOUT_MS = 1_000;

export type CircuitState = 'closed' | 'half_open' | 'open';

export type GuardedService = Pick<ServiceClient, 'graphql'> & { state(): CircuitState; stop(): void };

/** The service failed so often that it is not asked for a while. */
export class CircuitOpen extends Error {
  override name = 'CircuitOpen';
  readonly retryAfterSeconds: number;
  constructor(service: string, retryAfterSeconds: number) {
    super(`the circuit of the ${service} service is open`);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** A service that answers, whatever it answers, is healthy; one that can't be asked half of the time is given a rest. */
export function withCircuit(name: string, client: ServiceClient, log: Logger, settings = SETTINGS): GuardedService {
  const breaker = new CircuitBreaker((...asked: Parameters<ServiceClient['graphql']>) => client.graphql(...asked), {
    name,
    // The client has its own, which ends the request too.
    timeout: false,
    errorThresholdPercentage: settings.errorPercent,
    volumeThreshold: settings.minRequests,
    rollingCountTimeout: settings.windowMs,
    resetTimeout: settings.resetMs,
    errorFilter: (error: unknown) =>
      !(error instanceof ServiceUnavailable) ||
      error.how === 'too_large' ||
      (error.how === 'timeout' && error.waitedMs < FAIR_TIMEOUT_MS),
  });
  let openUntil = 0;
  breaker.on('open', () => {
    openUntil = performance.now() + settings.resetMs;
    log.error({ service: name }, 'the circuit is open: the service is not asked for a while');
  });
  breaker.on('close', () => log.warn({ service: name }, 'the circuit is closed: the service is asked again'));

  return {
    async graphql(...asked): Promise<GraphQLAnswer> {
      try {
        return await breaker.fire(...asked);
      } catch (error) {
        if (!(error instanceof Error) || !CircuitBreaker.isOurError(error)) throw error;
        throw new CircuitOpen(name, Math.max(1, Math.ceil((openUntil - performance.now()) / 1_000)));
      }
    },
    state: () => (breaker.halfOpen ? 'half_open' : breaker.opened ? 'open' : 'closed'),
    stop: () => breaker.shutdown(),
  };
}

/** Of at least ten requests within ten seconds half can't be asked: two seconds of rest. */
const SETTINGS = { errorPercent: 50, minRequests: 10, windowMs: 10_000, resetMs: 2_000 };
