import type { BrokerLog, BrokerState } from './broker.ts';

/** Holds the state and tells the listeners of changes; a listener that throws is logged and harms nobody. */
export function createBrokerState(initial: BrokerState, log: BrokerLog): StateHolder {
  let current = initial;
  const listeners = new Set<(state: BrokerState) => void>();
  return {
    get current() {
      return current;
    },
    set(next) {
      if (next === current || current === 'stopped') return;
      current = next;
      for (const listener of listeners) {
        try {
          listener(next);
        } catch (error) {
          log.error({ err: error }, 'a listener to the broker state failed');
        }
      }
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

export type StateHolder = {
  readonly current: BrokerState;
  /** `stopped` is final. */
  set(next: BrokerState): void;
  onChange(listener: (state: BrokerState) => void): () => void;
};
