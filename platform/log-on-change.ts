export type Log = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

/**
 * Tells of a fault that repeats, as in a loop that retries for ever: when its reason changes, then at most once a minute.
 */
export function createFaultLog(log: Log, message: string): FaultLog {
  let said: { reason: string; at: number } | undefined;
  let open = false;
  return {
    fault(reason) {
      const now = performance.now();
      if (said?.reason === reason && now - said.at < REPEAT_MS) return;
      said = { reason, at: now };
      open = true;
      log.warn({ reason }, message);
    },
    mended() {
      const wasOpen = open;
      open = false;
      return wasOpen;
    },
  };
}

/** An error in a few words. Node gives a refused connection to a name with two addresses an empty message. */
export const toReason = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return error.message || ('code' in error ? String(error.code) : error.name);
};

const REPEAT_MS = 60_000;

export type FaultLog = {
  fault(reason: string): void;
  /** Returns whether a fault was told since the last time: then its end may be told too. */
  mended(): boolean;
};
