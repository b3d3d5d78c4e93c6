/**
 * What one request about a device meets. `reset_before` cuts the connection with nothing accepted, `reset_after` accepts and
 * cuts it without an answer, `hang` does nothing at all, `echo` refuses with the request's headers as its text. An answer of
 * one's own accepts nothing; a `body` that is no text goes as JSON.
 */
export type Step = 'accept' | 'hang' | 'reset_before' | 'reset_after' | 'echo' | Answer;

export type Answer = { status: number; headers?: Record<string, string>; body?: unknown };

export type Script = {
  /** What requests about a device meet, one after the other; the last step stays. Without a script: accept. */
  set(device: string, ...steps: Step[]): void;
  /** Counts a request about the device. @returns what it meets */
  next(device: string): Step;
  /** How many requests there were about the device. */
  requests(device: string): number;
};

export function createScript(): Script {
  const scripts = new Map<string, Step[]>();
  const requests = new Map<string, number>();
  return {
    set: (device, ...steps) => void scripts.set(device, steps),
    next(device) {
      requests.set(device, (requests.get(device) ?? 0) + 1);
      const steps = scripts.get(device) ?? [];
      return (steps.length > 1 ? steps.shift() : steps[0]) ?? 'accept';
    },
    requests: (device) => requests.get(device) ?? 0,
  };
}
