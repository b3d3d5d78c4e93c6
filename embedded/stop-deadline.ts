/** From the signal until the last process is gone; the rest of the 5 s is npm's. */
const STOP_MS = 4_500;

/** How long a stop may still take; asked the first time, it begins to count unless the signal came before. */
export type StopDeadline = { leftMs(): number };

/** Creates the one deadline of a process: every part of its stop takes from what is left. */
export function createStopDeadline(signal?: AbortSignal): StopDeadline {
  let until: number | undefined;
  const begin = () => (until ??= performance.now() + STOP_MS);
  if (signal?.aborted) begin();
  else signal?.addEventListener('abort', begin, { once: true });
  return { leftMs: () => Math.max(0, begin() - performance.now()) };
}
