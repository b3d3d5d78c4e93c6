import { until } from './until.ts';

/** What keeps a process alive, and has an owner that should have closed it. */
const OWNED = ['TCPSocketWrap', 'TCPServerWrap', 'TLSWrap', 'Timeout'];
/** The other end of a closed connection needs a moment to see it. */
const PATIENCE_MS = 3_000;

/**
 * Notes which sockets and servers this process has now.
 * @returns a check that rejects when there are more of them, or any timer; it must not be called while another story runs
 */
export function watchLeaks(): () => Promise<void> {
  // Timers count from nothing: the test runner has short ones of its own, which would hide one of ours.
  const before: Record<string, number> = { ...count(), Timeout: 0 };
  const surplus = () =>
    OWNED.flatMap((type) => {
      const more = (count()[type] ?? 0) - (before[type] ?? 0);
      return more > 0 ? [`${more} × ${type}`] : [];
    });
  return async () => {
    await until(() => surplus().length === 0, { timeoutMs: PATIENCE_MS }).catch(() => {
      throw new Error(`left open: ${surplus().join(', ')}`);
    });
  };
}

function count(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const type of process.getActiveResourcesInfo()) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}
