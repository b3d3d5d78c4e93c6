/** Random numbers that come again with the same seed. */
export type Seeded = {
  /** From 0 to below 1. */
  next(): number;
  between(low: number, high: number): number;
  pick<T>(items: readonly [T, ...T[]]): T;
};

export function createSeeded(seed: string): Seeded {
  let state = toNumber(seed);
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    between: (low, high) => low + (high - low) * next(),
    pick: (items) => items[Math.floor(next() * items.length)] ?? items[0],
  };
}

/** A number from 0 to below 1 that is always the same for the same text. */
export const shareOf = (text: string): number => createSeeded(text).next();

/** FNV-1a. */
const toNumber = (text: string) =>
  [...Buffer.from(text)].reduce((hash, byte) => Math.imul(hash ^ byte, 16777619), 0x811c9dc5) | 0;
