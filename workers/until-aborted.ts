/** What the work comes to, or `instead` when the signal is aborted first; the work itself goes on. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal, instead: () => T): Promise<T> {
  if (signal.aborted) return instead();
  const { promise, resolve } = Promise.withResolvers<T>();
  const onAbort = () => resolve(instead());
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
