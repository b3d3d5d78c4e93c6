import { expect, test } from 'vitest';
import { createLowWater } from '../../subgraphs/notification/low-water.ts';

const NOW = Date.UTC(2026, 10, 23);
const MINUTE_MS = 60_000;
const row = (priority: number, minutesAgo: number) => ({ priority, dueAt: new Date(NOW - minutesAgo * MINUTE_MS) });
/** Where the next look begins, by priority, in minutes ago; null: at the beginning. */
const looks = (water: ReturnType<typeof createLowWater>, nowMs = NOW + 1) =>
  Object.fromEntries(
    water.next(nowMs).map((since, i) => [i + 1, since.getTime() === 0 ? null : (NOW - since.getTime()) / MINUTE_MS]),
  );

test('the first look is a full one, and so is one every 10 s', () => {
  const water = createLowWater();
  expect(Object.values(looks(water, NOW))).toEqual(Array.from({ length: 10 }, () => null));
  water.note([], 100, NOW);
  expect(looks(water, NOW + 9_999)).toMatchObject({ 1: 1, 10: 1 });
  expect(looks(water, NOW + 10_000)).toMatchObject({ 1: null, 10: null });
});

test('after a look that found all, each priority is looked through from its oldest, a minute before', () => {
  const water = createLowWater();
  water.next(NOW);
  water.note([row(9, 7), row(9, 5), row(2, 30)], 100, NOW);
  expect(looks(water)).toMatchObject({ 10: 1, 9: 8, 8: 1, 2: 31, 1: 1 });
});

test('what a full batch did not reach is looked through from where it was', () => {
  const water = createLowWater();
  water.next(NOW);
  water.note([row(9, 7), row(5, 40)], 2, NOW);
  expect(looks(water)).toMatchObject({ 10: 1, 9: 8, 6: 1, 5: 41, 4: null, 1: null });
});
