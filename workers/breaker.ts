import CircuitBreaker from 'opossum';
import type { Logger } from '../platform/logger.ts';
import type { Provider, SendContext, SendOutcome, TargetKind, TargetMessage } from './provider.ts';

/** `paused`: the provider said that its configuration is wrong; tried again like an open circuit. */
export type CircuitState = 'closed' | 'half_open' | 'open' | 'paused';

/** A provider behind a circuit breaker. */
export type GuardedProvider = {
  name: string;
  takes: readonly TargetKind[];
  /** Whether a send would be tried at all. */
  isAvailable(): boolean;
  /**
   * Asks for the right to one send; null: the circuit is open. While it is tried with one message, all others wait for what
   * becomes of that one. Whoever does not send after all gives up.
   */
  admit(): Promise<{ giveUp(): void } | null>;
  state(): { state: CircuitState; reason: string | null };
  /** `not_sent`: the circuit let nothing through, so no try is used up. */
  send(message: TargetMessage, context: SendContext): Promise<SendOutcome | { class: 'not_sent'; reason: string }>;
  /** Called at each change of state. */
  onChange(listener: () => void): void;
  /** Asks the provider whether it would take messages from us, and pauses it when not. */
  check(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
};

export type BreakerSettings = {
  /** Share of failures, percent, that opens the circuit. */
  errorPercent: number;
  /** Sends within the window below which it stays closed. */
  minSends: number;
  windowMs: number;
  /** How long it stays open before one message is tried. */
  resetMs: number;
};

/**
 * Puts a circuit breaker around a provider. Transient and unknown outcomes count as failures; a refused message or a dead
 * address says nothing about the provider. One configuration error is enough to stop.
 */
export function withBreaker(provider: Provider, settings: BreakerSettings, log: Logger): GuardedProvider {
  const listeners: (() => void)[] = [];
  let reason: string | null = null;
  let isPaused = false;
  /** While the circuit is half open: settled when it is known what became of the one message. */
  let trial: PromiseWithResolvers<void> | null = null;

  const breaker = new CircuitBreaker(
    async (message: TargetMessage, context: SendContext) => {
      const outcome = await provider.send(message, context);
      if (outcome.class !== 'transient' && outcome.class !== 'unknown' && outcome.class !== 'configuration')
        return outcome;
      reason = outcome.reason ?? null;
      if (outcome.class === 'configuration') pause();
      throw new ProviderFailed(outcome);
    },
    {
      name: provider.name,
      // opossum's own timeout rejects without stopping the send, which would then happen unseen.
      timeout: false,
      errorThresholdPercentage: settings.errorPercent,
      volumeThreshold: settings.minSends,
      rollingCountTimeout: settings.windowMs,
      resetTimeout: settings.resetMs,
    },
  );

  const pause = () => {
    isPaused = true;
    breaker.open();
  };
  const endTrial = () => {
    trial?.resolve();
    trial = null;
  };
  const changed = (what: string) => {
    endTrial();
    log.warn({ provider: provider.name, reason }, what);
    for (const listener of listeners) listener();
  };
  breaker.on('open', () =>
    changed(
      isPaused
        ? 'the provider is paused: its configuration is wrong'
        : 'the circuit is open: nothing is sent for a while',
    ),
  );
  breaker.on('halfOpen', () => changed('the provider is tried with one message'));
  breaker.on('close', () => {
    isPaused = false;
    reason = null;
    changed('the provider takes messages again');
  });

  const stateNow = (): CircuitState => {
    if (breaker.halfOpen) return 'half_open';
    if (breaker.opened) return isPaused ? 'paused' : 'open';
    return 'closed';
  };

  return {
    name: provider.name,
    takes: provider.takes,
    isAvailable: () => !breaker.opened || breaker.halfOpen,
    state: () => ({ state: stateNow(), reason }),
    async admit() {
      while (breaker.halfOpen && trial !== null) await trial.promise;
      if (breaker.closed) return { giveUp: () => {} };
      if (!breaker.halfOpen) return null;
      const mine = (trial = Promise.withResolvers<void>());
      return { giveUp: () => trial === mine && endTrial() };
    },
    async send(message, context) {
      try {
        return await breaker.fire(message, context);
      } catch (error) {
        if (error instanceof ProviderFailed) return error.outcome;
        if (error instanceof Error && CircuitBreaker.isOurError(error))
          return { class: 'not_sent', reason: `the circuit of ${provider.name} is open` };
        // A provider's file must not throw; if it does, nobody knows how far it came.
        const { notificationId, correlationId } = context;
        log.error({ err: error, notificationId, correlationId }, `the ${provider.name} provider threw`);
        return { class: 'unknown', reason: String(error) };
      }
    },
    onChange: (listener) => listeners.push(listener),
    async check(signal) {
      try {
        await provider.check(signal);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        // Slow is not wrong: the first message will tell.
        if (signal.aborted)
          return log.warn({ provider: provider.name, reason: why }, 'the provider could not be asked');
        reason = why;
        log.error({ provider: provider.name, reason }, 'the provider is not usable as it is set up');
        pause();
      }
    },
    async stop() {
      breaker.shutdown();
      await provider.stop();
    },
  };
}

/** How a failed hand-over gets through opossum, which counts only what throws. */
class ProviderFailed extends Error {
  override name = 'ProviderFailed';
  readonly outcome: SendOutcome;
  constructor(outcome: SendOutcome) {
    super(outcome.reason ?? outcome.class);
    this.outcome = outcome;
  }
}
