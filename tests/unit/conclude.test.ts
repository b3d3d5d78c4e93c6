import { expect, test } from 'vitest';
import { toTargetOutcome } from '../../workers/conclude.ts';

test.each([
  [undefined, undefined],
  [-1, 0],
  [0, 0],
  [0.2, 1],
  [86_400, 86_400],
  [86_400.5, 86_400],
  [99_999_999_999, 86_400],
  [Infinity, 86_400],
])('a wait of %s s is kept as %s', (retryAfterSeconds, expected) => {
  const said = { class: 'transient' as const, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
  expect(toTargetOutcome(said).retryAfterSeconds).toBe(expected);
});
