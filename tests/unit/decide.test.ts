import { describe, expect, test } from 'vitest';
import type { OutcomeClass } from '../../contracts/report.ts';
import { readConfig } from '../../subgraphs/notification/config.ts';
import { decide, type Decision, type Outcome, type Standing } from '../../subgraphs/notification/decide.ts';

const NOW = new Date('2026-11-23T12:00:00Z');
const schedule = { baseSeconds: 60, capSeconds: 3_600, giveUpSeconds: 86_400 };
const fresh: Standing = {
  onAmbiguous: 'resend',
  failures: 0,
  failingSince: null,
  mayHaveArrived: false,
  expiresAt: null,
  isErased: false,
};

const decideOn = (
  outcome: Partial<Outcome> & { class: OutcomeClass },
  standing: Partial<Standing> = {},
  random = 0.5,
): Decision =>
  decide({ ...fresh, ...standing }, { reason: null, retryAfterSeconds: null, ...outcome }, schedule, NOW, random);

const inSeconds = (seconds: number) => new Date(NOW.getTime() + seconds * 1_000);
const EXHAUSTED = { failures: 20, failingSince: inSeconds(-86_400) };

describe('as it is configured when nothing is set', () => {
  const { retry } = readConfig({
    NOTIFICATIONS_DATABASE_URL: 'postgresql://localhost/notifications_db',
    AMQP_URL: 'amqp://localhost',
    USER_SECRET: 'x'.repeat(16),
    TEMPLATE_SECRET: 'x'.repeat(16),
    NOTIFICATION_SECRET: 'x'.repeat(16),
  });

  /** @returns when the tries of a notification are that always fails, in seconds after the first */
  function triesOf(type: 'email' | 'push', jitter: () => number): number[] {
    const tries = [0];
    for (let failures = 0; ; failures += 1) {
      const at = tries.at(-1) ?? 0;
      const standing = { ...fresh, failures, failingSince: failures === 0 ? null : NOW };
      const outcome = { class: 'transient', reason: null, retryAfterSeconds: null } as const;
      const decision = decide(standing, outcome, retry[type], inSeconds(at), jitter());
      if (decision.status !== 'pending') return tries;
      tries.push(at + decision.delayMs / 1_000);
    }
  }

  test.each([
    ['email', 24, 60],
    ['push', 4, 10],
  ] as const)('a try of %s that always fails is repeated for %i h, whatever the jitter', (type, hours, base) => {
    const runs = [triesOf(type, () => 1), ...Array.from({ length: 200 }, () => triesOf(type, Math.random))];
    for (const tries of runs) {
      expect(tries[1]).toBeLessThanOrEqual(base);
      expect(tries.at(-1)).toBeCloseTo(hours * 3_600, 0);
      expect(tries.length).toBeGreaterThan(10);
      expect(tries.length).toBeLessThan(100);
    }
  });
});

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

describe('what an outcome means for a user who was deleted', () => {
  test.each<[OutcomeClass, Partial<Standing>, Decision]>([
    ['accepted', {}, { status: 'delivered' }],
    ['permanent', {}, { status: 'failed', reason: 'CANCELLED' }],
    ['address_dead', {}, { status: 'failed', reason: 'CANCELLED' }],
    ['transient', {}, { status: 'failed', reason: 'CANCELLED' }],
    ['configuration', {}, { status: 'failed', reason: 'CANCELLED' }],
    ['not_sent', {}, { status: 'failed', reason: 'CANCELLED' }],
    ['transient', { mayHaveArrived: true }, { status: 'failed', reason: 'OUTCOME_UNKNOWN' }],
    ['unknown', {}, { status: 'failed', reason: 'OUTCOME_UNKNOWN' }],
  ])('%s and %o', (outcome, standing, decision) => {
    expect(decideOn({ class: outcome }, { ...standing, isErased: true })).toEqual(decision);
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
  ])('a day after the first failure %s is the last, and ends it as %s', (outcome, reason) => {
    const failing = (seconds: number) => ({ failures: 10, failingSince: inSeconds(-seconds) });
    expect(decideOn({ class: outcome }, failing(86_400 - 100))).toMatchObject({ status: 'pending', delayMs: 100_000 });
    expect(decideOn({ class: outcome }, failing(86_400))).toEqual({ status: 'failed', reason });
    expect(decideOn({ class: outcome }, failing(100_000))).toEqual({ status: 'failed', reason });
  });

  test('the last try waits for as long as the provider asks too', () => {
    const last = { failures: 10, failingSince: inSeconds(10 - 86_400) };
    const decision = decideOn({ class: 'transient', retryAfterSeconds: 60 }, last);
    expect(decision).toMatchObject({ status: 'pending', delayMs: 60_000 });
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
    ['transient', EXHAUSTED],
    ['transient', { expiresAt: inSeconds(30) }],
    ['not_sent', { expiresAt: inSeconds(5) }],
    ['configuration', { expiresAt: inSeconds(30) }],
  ])('%s with %o claims no failure, when an attempt before may have been delivered', (outcome, standing) => {
    const decision = decideOn({ class: outcome }, { ...standing, mayHaveArrived: true });
    expect(decision).toEqual({ status: 'failed', reason: 'OUTCOME_UNKNOWN' });
  });

  test('uses up the tries before it looks at the deadline', () => {
    const decision = decideOn({ class: 'transient' }, { ...EXHAUSTED, expiresAt: inSeconds(-1) });
    expect(decision).toEqual({ status: 'failed', reason: 'RETRIES_EXHAUSTED' });
  });
});
