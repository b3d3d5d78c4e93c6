import { setTimeout as wait } from 'node:timers/promises';

/** Ends each within the time, a few at a time and never on the beat: so that those who come back don't come as one. */
export async function sayGoodbye<One>(all: readonly One[], withinMs: number, end: (one: One) => void): Promise<void> {
  const batch = Math.max(1, Math.ceil(all.length / STEPS));
  for (let first = 0; first < all.length; first += batch) {
    for (const one of all.slice(first, first + batch)) end(one);
    if (first + batch < all.length) await wait((withinMs / STEPS) * (0.5 + Math.random() / 2));
  }
}

const STEPS = 20;
