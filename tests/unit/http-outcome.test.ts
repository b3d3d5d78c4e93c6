import { expect, test } from 'vitest';
import { parseRetryAfter } from '../../workers/http-outcome.ts';

test.each([
  ['120', 120],
  [' 0 ', 0],
  ['Wed, 21 Oct 2026 07:28:30 GMT', 30],
  ['Wed, 21 Oct 2026 07:27:00 GMT', 0],
  ['-5', undefined],
  ['1.5', undefined],
  ['soon', undefined],
  ['', undefined],
  [undefined, undefined],
])('Retry-After: %s', (header, seconds) => {
  expect(parseRetryAfter(header, new Date('2026-10-21T07:28:00Z'))).toBe(seconds);
});
