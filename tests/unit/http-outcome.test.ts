import { expect, test } from 'vitest';
import { classOfStatus, parseRetryAfter, toSendOutcome } from '../../workers/http-outcome.ts';

const NOW = new Date('2026-01-01T00:00:00Z');

test.each([
  ['0', 0],
  ['7', 7],
  [' 120 ', 120],
  ['Thu, 01 Jan 2026 00:01:00 GMT', 60],
  ['Thu, 01 Jan 2026 00:00:01 GMT', 1],
  ['Wed, 31 Dec 2025 23:59:59 GMT', 0],
  ['-5', undefined],
  ['1.5', undefined],
  ['soon', undefined],
  ['', undefined],
  [undefined, undefined],
])('Retry-After %s is %s seconds', (header, expected) => {
  expect(parseRetryAfter(header, NOW)).toBe(expected);
});

test('a part of a second is a whole one: never too early', () => {
  expect(parseRetryAfter('Thu, 01 Jan 2026 00:00:01 GMT', new Date(NOW.getTime() + 1))).toBe(1);
});

test.each([
  [400, 'permanent'],
  [413, 'permanent'],
  [401, 'configuration'],
  [403, 'configuration'],
  [404, 'configuration'],
  [405, 'configuration'],
  [429, 'transient'],
  [500, 'transient'],
  [503, 'transient'],
  [200, 'unknown'],
  [204, 'unknown'],
  [302, 'unknown'],
  [409, 'unknown'],
  [502, 'unknown'],
  [504, 'unknown'],
])('the status %i is %s', (status, expected) => {
  expect(classOfStatus(status)).toBe(expected);
});

const toUnknown = () => ({ class: 'unknown' as const });

test('what was not sent may be tried again, what may have arrived is unknown', () => {
  expect(toSendOutcome({ kind: 'not_sent', reason: 'refused' }, toUnknown)).toEqual({
    class: 'transient',
    reason: 'refused',
  });
  expect(toSendOutcome({ kind: 'unclear', reason: 'reset' }, toUnknown)).toEqual({ class: 'unknown', reason: 'reset' });
});

test('an answer is the reason, whole', () => {
  const answer = { kind: 'answered' as const, status: 418, headers: {}, body: 'teapot '.repeat(2_000) };
  const { reason = '' } = toSendOutcome(answer, toUnknown);
  expect(reason).toBe(`418 ${answer.body}`.trim());
});
