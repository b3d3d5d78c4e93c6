/**
 * Waits until the condition holds and returns what it gave; a condition that throws counts as not yet.
 * @throws Error with the last failure as its cause when it takes longer than `timeoutMs`
 */
export async function until<T>(
  condition: () => T | Falsy | Promise<T | Falsy>,
  { timeoutMs = 5_000, everyMs = 10 } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const outcome = await condition();
      if (outcome) return outcome;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${condition.toString()}`, { cause });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

type Falsy = false | null | undefined | 0 | '';
