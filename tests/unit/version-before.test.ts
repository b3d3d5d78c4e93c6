import { expect, test } from 'vitest';
import { versionBefore } from '../../subgraphs/template/publish-version.ts';

const published = (number: number) => ({ number, kind: 'PUBLISHED' as const });
const rolledBackTo = (number: number) => ({ number, kind: 'ROLLED_BACK' as const });

test.each([
  ['nothing', [], null],
  ['one version', [published(1)], null],
  ['two', [published(1), published(2)], 1],
  ['two, the older one later', [published(2), published(1)], 2],
  ['one step back', [published(1), published(2), published(3), rolledBackTo(2)], 1],
  ['two steps back', [published(1), published(2), published(3), rolledBackTo(2), rolledBackTo(1)], null],
  ['two steps back at once', [published(1), published(2), published(3), rolledBackTo(1)], null],
  ['a step back, then a new one', [published(1), published(2), rolledBackTo(1), published(3)], 1],
  ['an old one published anew', [published(1), published(2), published(3), published(1)], 3],
  ['forward again by a number', [published(1), published(2), rolledBackTo(1), rolledBackTo(2)], 1],
])('before the present version, after %s', (_, history, expected) => {
  expect(versionBefore(history)).toBe(expected);
});
