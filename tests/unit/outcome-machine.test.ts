import fc from 'fast-check';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { OutcomeClass } from '../../contracts/report.ts';
import { givenUp } from '../../subgraphs/notification/decide.ts';
import type { AttemptRow, Change, LockedRow } from '../../subgraphs/notification/outcomes.ts';
import { changeOf } from '../../subgraphs/notification/outcomes.ts';
import { judge, judgeLegacy, toChange } from '../../subgraphs/notification/report-status.ts';

/** One notification under every order of events that crashes, delays and repeats can make; the clock is the test's. */

const schedule = { baseSeconds: 10, capSeconds: 100, giveUpSeconds: 100 };
const LEASE_MS = 30_000;
const MAX_CLAIMS = 10;

// The only chance in it is the jitter of a retry, and no promise depends on that.
beforeAll(() => void vi.spyOn(Math, 'random').mockReturnValue(0.5));
afterAll(() => void vi.restoreAllMocks());

const withAttempt: OutcomeClass[] = [
  'accepted',
  'transient',
  'permanent',
  'address_dead',
  'configuration',
  'unknown',
  'not_sent',
];

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('claim' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('start' as const), back: fc.nat(2) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('finish' as const),
      back: fc.nat(2),
      outcome: fc.constantFrom(...withAttempt),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('report' as const), back: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('keep' as const), back: fc.nat(3) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('pass' as const), seconds: fc.constantFrom(1, 5, 31, 120) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('replay' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('legacy' as const),
      status: fc.constantFrom('delivered' as const, 'failed' as const, 'pending' as const),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

test.each(['resend', 'fail'] as const)('whatever comes, in whatever order (%s)', (onAmbiguous) => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60, size: 'max' }),
      fc.option(fc.constantFrom(20, 200)),
      (steps, expiresInSeconds) => {
        const world = createWorld(onAmbiguous, expiresInSeconds);
        for (const taken of steps) world.take(taken);
        world.mustEnd();
      },
    ),
    { numRuns: 3_000 },
  );
});

/** The rows as PostgreSQL holds them and what the SQL functions do with them; every decision is the product's. */
function createWorld(onAmbiguous: 'resend' | 'fail', expiresInSeconds: number | null) {
  let now = Date.UTC(2026, 10, 23);
  let leaseUntil: number | null = null;
  const attempts = new Map<number, AttemptRow>();
  /** What each claim's worker has to say, once; the network tells it late, again, or never. */
  const reports: { token: number; class: OutcomeClass }[] = [];
  const applied = new Set<string>();
  const row = {
    id: '0193-a',
    clientId: 'client',
    userId: 'user',
    type: 'email',
    status: 'pending',
    reason: null,
    token: 0,
    onAmbiguous,
    failures: 0,
    failingSince: null,
    mayHaveArrived: false,
    claims: 0,
    dueAt: new Date(now),
    expiresAt: expiresInSeconds === null ? null : new Date(now + expiresInSeconds * 1_000),
    hasContent: true,
    isErased: false,
  } as Omit<LockedRow, 'isLeased' | 'isExpired' | 'now'>;
  let run = { ends: 0, wasUnknown: false };

  const locked = (): LockedRow => ({
    ...row,
    isLeased: leaseUntil !== null && leaseUntil > now,
    isExpired: leaseUntil !== null && leaseUntil <= now,
    now: new Date(now),
  });

  function apply(change: Change): void {
    expect(change.previousStatus).toBe(row.status);
    expect(row.status, 'delivered never goes back').not.toBe('delivered');
    if (row.status === 'failed') expect(change.event, 'only a replay brings back a failed one').toBe('REPLAYED');
    if (change.event === 'REPLAYED') run = { ends: 0, wasUnknown: false };
    else if (change.status !== 'pending') run.ends += 1;
    expect(run.ends, 'a run ends once').toBeLessThanOrEqual(1);
    expect(change.reason === null, 'a reason goes with failed, and only with it').toBe(change.status !== 'failed');

    if (run.wasUnknown && change.event !== 'REPLAYED')
      expect(['RETRIES_EXHAUSTED', 'EXPIRED'], 'nobody knows that it was not delivered').not.toContain(change.reason);

    row.status = change.status;
    row.reason = change.reason;
    if (change.usedUp) {
      const giveUpAt = (row.failingSince?.getTime() ?? now) + schedule.giveUpSeconds * 1_000;
      expect(now, 'no try after the last').toBeLessThan(giveUpAt);
      expect(now + (change.delayMs ?? 0), 'the last try is made at the end').toBeLessThanOrEqual(giveUpAt);
      row.failingSince ??= new Date(now);
    }
    if (change.event === 'REPLAYED') row.failingSince = null;
    row.failures = change.event === 'REPLAYED' ? 0 : row.failures + Number(change.usedUp);
    row.mayHaveArrived = change.event !== 'REPLAYED' && (row.mayHaveArrived || change.attempt?.class === 'unknown');
    if (!change.isGiveBack) row.claims = 0;
    if (change.delayMs !== null) row.dueAt = new Date(now + change.delayMs);
    leaseUntil = null;
    const attempt = change.attempt === null ? undefined : attempts.get(change.attempt.token);
    if (attempt && change.attempt && (attempt.appliedAt === null || change.attempt.class === 'accepted')) {
      const { class: outcome } = change.attempt;
      attempts.set(attempt.token, {
        ...attempt,
        ...change.attempt,
        finishedAt: new Date(now),
        appliedAt: new Date(now),
      });
      run.wasUnknown ||= outcome === 'unknown';
    }
  }

  const wasRecorded = (token: number, outcome: OutcomeClass) => {
    const attempt = attempts.get(token);
    return attempt !== undefined && attempt.appliedAt !== null && attempt.class === outcome;
  };

  function report(token: number, outcome: OutcomeClass): void {
    const told = {
      token,
      class: outcome,
      reason: null,
      retryAfterSeconds: null,
      providerMessageId: null,
      results: null,
    };
    const verdict = judge(told, locked(), attempts.get(token), schedule);
    if (applied.has(`${token}:${outcome}`)) expect(verdict.change, 'a repeat changes nothing').toBeNull();
    if (wasRecorded(token, outcome)) expect(verdict.code, 'a repeat is taken').toBe(200);
    if (verdict.keep !== null) keep(token, outcome);
    if (verdict.change === null) return;
    expect(verdict.code).toBe(200);
    applied.add(`${token}:${outcome}`);
    apply(verdict.change);
  }

  function keep(token: number, outcome: OutcomeClass): void {
    const attempt = attempts.get(token);
    if (attempt?.finishedAt === null) attempts.set(token, { ...attempt, class: outcome, finishedAt: new Date(now) });
  }

  function sweep(): void {
    const swept = locked();
    if (swept.status !== 'pending' || !swept.isExpired) return;
    const attempt = attempts.get(row.token);
    if (attempt && attempt.appliedAt === null)
      return apply(toChange(swept, row.token, { ...attempt, class: attempt.class ?? 'unknown' }, attempt, schedule));
    const isPoison = row.claims >= MAX_CLAIMS;
    return apply({
      ...changeOf(swept),
      status: isPoison ? 'failed' : 'pending',
      reason: isPoison ? givenUp(row, 'RETRIES_EXHAUSTED').reason : null,
      event: isPoison ? 'FAILED' : 'RETRY_SCHEDULED',
      isGiveBack: true,
      delayMs: isPoison ? null : 0,
    });
  }

  function claim(): void {
    if (row.status !== 'pending' || leaseUntil !== null || row.dueAt.getTime() > now) return;
    row.token += 1;
    row.claims += 1;
    leaseUntil = now + LEASE_MS;
  }

  function start(token: number): void {
    const mine = row.status === 'pending' && token === row.token && locked().isLeased;
    if (!mine || attempts.has(token) || reports.some((said) => said.token === token)) return;
    if (onAmbiguous === 'fail') expect(run.wasUnknown, 'at most once: nothing is sent after an unknown').toBe(false);
    row.claims = 0;
    leaseUntil = now + LEASE_MS;
    const fields = {
      class: null,
      reason: null,
      retryAfterSeconds: null,
      providerMessageId: null,
      results: null,
      wasAccepted: false,
    };
    attempts.set(token, {
      ...fields,
      id: row.id,
      token,
      number: attempts.size + 1,
      provider: 'smtp',
      finishedAt: null,
      appliedAt: null,
    });
  }

  function finish(token: number, outcome: OutcomeClass): void {
    if (token < 1 || reports.some((said) => said.token === token)) return;
    const isWithout = !attempts.has(token);
    if (isWithout && outcome !== 'not_sent' && outcome !== 'permanent') return;
    reports.push({ token, class: outcome });
  }

  function take(taken: Step): void {
    const said = 'back' in taken ? reports.at(-1 - taken.back) : undefined;
    switch (taken.do) {
      case 'claim':
        return claim();
      case 'start':
        return start(row.token - taken.back);
      case 'finish':
        return finish(row.token - taken.back, taken.outcome);
      case 'report':
        return said && report(said.token, said.class);
      case 'keep':
        return said && keep(said.token, said.class);
      case 'pass':
        now += taken.seconds * 1_000;
        return undefined;
      case 'sweep':
        return sweep();
      case 'cancel':
        if (row.status !== 'pending' || leaseUntil !== null) return undefined;
        return apply({ ...changeOf(locked()), status: 'failed', reason: 'CANCELLED', event: 'CANCELLED' });
      case 'replay':
        if (row.status !== 'failed') return undefined;
        return apply({ ...changeOf(locked()), status: 'pending', event: 'REPLAYED', delayMs: 0 });
      case 'legacy': {
        const { change } = judgeLegacy({ status: taken.status, error: null }, locked());
        return change === null ? undefined : apply(change);
      }
    }
  }

  return {
    take,
    /** With workers that work again, it comes to its end. */
    mustEnd(): void {
      for (let turn = 0; row.status === 'pending' && turn < 2; turn += 1) {
        now += 24 * 3_600_000;
        sweep();
        now += 24 * 3_600_000;
        claim();
        start(row.token);
        finish(row.token, 'accepted');
        report(row.token, 'accepted');
      }
      expect(row.status).not.toBe('pending');
    },
  };
}
