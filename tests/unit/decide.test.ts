import { describe, expect, test } from 'vitest';
import type { OutcomeClass } from '../../contracts/report.ts';
import { decide, type Decision, type Outcome, type Standing } from '../../subgraphs/notification/decide.ts';

const NOW = new Date('2026-11-23T12:00:00Z');
const schedule = { baseSeconds: 60, capSeconds: 3_600, maxAttempts: 12 };
const fresh: Standing = { onAmbiguous: 'resend', failures: 0, mayHaveArrived: false, expiresAt: null };

const decideOn = (
  outcome: Partial<Outcome> & { class: OutcomeClass },
  standing: Partial<Standing> = {},
  random = 0.5,
): Decision =>
  decide({ ...fresh, ...standing }, { reason: null, retryAfterSeconds: null, ...outcome }, schedule, NOW, random);

const inSeconds = (seconds: number) => new Date(NOW.getTime() + seconds * 1_000);

describe('what an outcome means', () => {
  test.each<[OutcomeClass, string | null, Partial<Standing>, Decision]>([
    ['accepted', null, {}, { status: 'delivered' }],
    ['accepted', null, { expiresAt: inSeconds(-1) }, { status: 'delivered' }],
    ['permanent', 'spam', {}, { status: 'failed', reason: 'REJECTED' }],
    ['permanent', null, {}, { status: 'failed', reason: 'REJECTED' }],
    ['permanent', 'PREFERENCE_DISABLED', {}, { status: 'failed', reason: 'PREFERENCE_DISABLED' }],
    ['permanent', 'EXPIRED', {}, { status: 'failed', reason: 'EXPIRED' }],
    ['address_dead', 'no such user', {}, { status: 'failed', reason: 'ADDRESS_DEAD' }],
    ['unknown', null, { onAmbiguous: 'fail' }, { status: 'failed', reason: 'OUTCOME_UNKNOWN' }],
    ['unknown', null, {}, { status: 'pending', delayMs: 30_000, usedUp: true }],
    ['transient', null, {}, { status: 'pending', delayMs: 30_000, usedUp: true }],
    ['transient', null, { onAmbiguous: 'fail' }, { status: 'pending', delayMs: 30_000, usedUp: true }],
    ['configuration', null, { failures: 11 }, { status: 'pending', delayMs: 30_000, usedUp: false }],
    ['not_sent', null, { failures: 11 }, { status: 'pending', delayMs: 5_000, usedUp: false }],
  ])('%s with reason %s and %o', (outcome, reason, standing, decision) => {
    expect(decideOn({ class: outcome, reason }, standing)).toEqual(decision);
  });
});

describe('the schedule', () => {
  const ceilings = [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600, 3_600, 3_600];

  test.each(ceilings.map((ceiling, failures) => ({ failures, ceiling })))(
    'after $failures failures the next delay lies between 0 and $ceiling s',
    ({ failures, ceiling }) => {
      const delay = (random: number) => decideOn({ class: 'transient' }, { failures }, random);
      expect(delay(0)).toEqual({ status: 'pending', delayMs: 0, usedUp: true });
      expect(delay(0.25)).toEqual({ status: 'pending', delayMs: ceiling * 250, usedUp: true });
      expect(delay(1)).toEqual({ status: 'pending', delayMs: ceiling * 1_000, usedUp: true });
    },
  );

  test.each<[OutcomeClass, string]>([
    ['transient', 'RETRIES_EXHAUSTED'],
    ['unknown', 'OUTCOME_UNKNOWN'],
  ])('the twelfth failure, %s, is the last, and ends it as %s', (outcome, reason) => {
    expect(decideOn({ class: outcome }, { failures: 10 }).status).toBe('pending');
    expect(decideOn({ class: outcome }, { failures: 11 })).toEqual({ status: 'failed', reason });
    expect(decideOn({ class: outcome }, { failures: 50 })).toEqual({ status: 'failed', reason });
  });

  test.each([
    ['longer than the jitter: it counts', 90, 0.5, 90_000],
    ['shorter than the jitter: the jitter counts', 10, 0.5, 30_000],
    ['beyond the cap: it counts', 7_200, 1, 7_200_000],
    ['none', 0, 0.5, 30_000],
  ])('Retry-After %s', (_, retryAfterSeconds, random, delayMs) => {
    expect(decideOn({ class: 'transient', retryAfterSeconds }, {}, random)).toMatchObject({
      status: 'pending',
      delayMs,
    });
  });
});

describe('the deadline', () => {
  test.each<[OutcomeClass, number, Decision['status']]>([
    ['transient', 31, 'pending'],
    ['transient', 30, 'failed'],
    ['unknown', 30, 'failed'],
    ['configuration', 31, 'pending'],
    ['configuration', 30, 'failed'],
    ['not_sent', 6, 'pending'],
    ['not_sent', 5, 'failed'],
  ])('%s with %i s left is %s', (outcome, seconds, status) => {
    const decision = decideOn({ class: outcome }, { expiresAt: inSeconds(seconds) });
    expect(decision.status).toBe(status);
    if (decision.status === 'failed')
      expect(decision.reason).toBe(outcome === 'unknown' ? 'OUTCOME_UNKNOWN' : 'EXPIRED');
  });

  test.each<[OutcomeClass, Partial<Standing>]>([
    ['transient', { failures: 11 }],
    ['transient', { expiresAt: inSeconds(30) }],
    ['not_sent', { expiresAt: inSeconds(5) }],
    ['configuration', { expiresAt: inSeconds(30) }],
  ])('%s with %o claims no failure, when an attempt before may have been delivered', (outcome, standing) => {
    const decision = decideOn({ class: outcome }, { ...standing, mayHaveArrived: true });
    expect(decision).toEqual({ status: 'failed', reason: 'OUTCOME_UNKNOWN' });
  });

  test('uses up the tries before it looks at the deadline', () => {
    const decision = decideOn({ class: 'transient' }, { failures: 11, expiresAt: inSeconds(-1) });
    expect(decision).toEqual({ status: 'failed', reason: 'RETRIES_EXHAUSTED' });
  });
});
