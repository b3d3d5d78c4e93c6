import { expect, test } from 'vitest';
import { statusReportSchema } from '../../contracts/report.ts';
import { merge, toResults, toTargetOutcome, type TargetOutcome } from '../../workers/conclude.ts';

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

test('a report takes whatever a provider says, however long', () => {
  const long = 'x'.repeat(20_000);
  const said = toTargetOutcome({ class: 'accepted', reason: long, providerMessageId: long, retryAfterSeconds: 1e12 });
  const report = {
    notification_id: 'n1',
    status: 'delivered',
    attempt: {
      token: 1,
      class: said.class,
      reason: said.reason,
      retry_after_seconds: said.retryAfterSeconds,
      provider_message_id: said.providerMessageId,
      results: toResults(new Map([[long, said]])),
    },
  };
  expect(statusReportSchema.safeParse(report).error).toBeUndefined();
  expect(said.reason).toHaveLength(8_000);
});

test.each<[string, TargetOutcome | undefined, TargetOutcome, Partial<TargetOutcome>]>([
  ['nothing, then a wait', undefined, transient('b', 5), transient('b', 5)],
  ['a wait, then wrong credentials', transient('a', 9), wrong('b'), transient('a', 9)],
  ['a wait, then an open circuit', transient('a', 9), notSent('b'), transient('a', 9)],
  ['a failure without a wait, then wrong credentials', transient('a'), wrong('b'), transient('a')],
  ['wrong credentials, then a wait', wrong('a'), transient('b', 9), transient('b', 9)],
  ['wrong credentials, then an open circuit', wrong('a'), notSent('b'), notSent('b')],
  ['a long wait, then a short one', transient('a', 9), transient('b', 5), transient('b', 9)],
  ['a short wait, then a long one', transient('a', 5), transient('b', 9), transient('b', 9)],
  ['a wait, then a failure without one', transient('a', 9), transient('b'), transient('b', 9)],
  ['two failures without a wait', transient('a'), transient('b'), transient('b')],
  ['a wait, then success', transient('a', 9), { class: 'accepted' }, { class: 'accepted' }],
  ['a wait, then nobody knows', transient('a', 9), { class: 'unknown' }, { class: 'unknown' }],
])('at one target, %s', (_, earlier, later, expected) => {
  expect(merge(earlier, later)).toEqual(expected);
});

function transient(reason: string, retryAfterSeconds?: number): TargetOutcome {
  return { class: 'transient', reason, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
}

function wrong(reason: string): TargetOutcome {
  return { class: 'configuration', reason };
}

function notSent(reason: string): TargetOutcome {
  return { class: 'not_sent', reason };
}
