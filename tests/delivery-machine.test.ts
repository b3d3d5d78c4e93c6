import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { OutcomeClass } from '../contracts/report.ts';
import { toReportedStatus } from '../contracts/report.ts';
import { ADMIN, WORKER } from '../contracts/scopes.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createPool, type Pool } from '../platform/postgres.ts';
import { cancelNotification } from '../subgraphs/notification/cancel-notification.ts';
import { createCounters } from '../subgraphs/notification/counters.ts';
import { requeueUnclaimed } from '../subgraphs/notification/outbox.ts';
import { replayNotification } from '../subgraphs/notification/replay-notifications.ts';
import { reportStatus, type Report } from '../subgraphs/notification/report-status.ts';
import { createStore, type NotificationStore } from '../subgraphs/notification/store.ts';
import { sweepOnce } from '../subgraphs/notification/sweep.ts';
import { createClaims, type Claims, type EndedAttempt } from '../workers/claims.ts';
import { copyDatabases, type Databases } from './databases.ts';
import { createTestLogger } from './test-log.ts';

/**
 * One notification in the hands of workers that crash, repeat themselves and are late, on PostgreSQL: every claim, attempt,
 * report and sweep is the product's. Time is moved by moving the times of its row.
 */

const RUNS = 60;
const STEPS = 40;
const LEASE_SECONDS = 30;

const log = createTestLogger('machine');
let databases: Databases;
let pool: Pool;
let workerPool: Pool;
let store: NotificationStore;
let claims: Claims;
beforeAll(async () => {
  databases = await copyDatabases(inject('postgresUrl'), inject('templateDatabases'));
  pool = createPool(databases.urlOf('notification'), { max: 3, log });
  workerPool = createPool(databases.urlOf('worker'), { max: 2, log });
  store = createStore(pool);
  claims = createClaims('email', workerPool, LEASE_SECONDS);
});
afterAll(async () => {
  await store?.stop();
  await pool?.end();
  await workerPool?.end();
  await databases?.drop();
});

const outcome = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<OutcomeClass[]>('transient', 'unknown', 'configuration') },
  { weight: 1, arbitrary: fc.constantFrom<OutcomeClass[]>('accepted', 'permanent', 'address_dead') },
);

/** `back`: which of the workers, from the one that claimed last; or which of the reports. */
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('claim' as const), isRepeat: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('start' as const), back: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('start all at once' as const) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('finish' as const), back: fc.nat(2), outcome }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('tell' as const), back: fc.nat(2), arrives: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('repeat' as const), back: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('keep' as const), back: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('give back' as const), back: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), back: fc.nat(2) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('pass' as const), seconds: fc.constantFrom(1, 6, 31, 130) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('lapse' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose the broker' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('replay' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

test.each(['resend', 'fail'] as const)(
  'whatever workers do, and whenever, no promise of a notification is broken (%s)',
  { timeout: 90_000 },
  async (onAmbiguous) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: STEPS, maxLength: STEPS }),
        fc.option(fc.constantFrom(20, 200)),
        async (steps, expiresInSeconds) => {
          const machine = await createMachine(onAmbiguous, expiresInSeconds);
          for (const one of steps) await machine.take(one);
          await machine.mustEnd();
        },
      ),
      { numRuns: RUNS, seed: 20261125, endOnFailure: true },
    );
  },
);

/** A worker's view of its claim. `outcome`: of its last attempt, or of none. */
const SCHEDULE = { baseSeconds: 10, capSeconds: 100, giveUpSeconds: 100 };

type Held = { id: string; token: number; hasAttempt: boolean; outcome: OutcomeClass | null };

async function createMachine(onAmbiguous: 'resend' | 'fail', expiresInSeconds: number | null) {
  const id = await givenNotification(onAmbiguous, expiresInSeconds);
  const workers: Held[] = [];
  const reports: Report[] = [];
  let before = await read(id);
  let replays = 0;

  const deps = {
    pool,
    schedules: { email: SCHEDULE, push: SCHEDULE },
    counters: createCounters(createMetrics('machine')),
    onQueued: () => {},
    onChanged: () => {},
    log,
  };
  const heldBy = (back: number) => workers.at(-1 - back);
  const forget = (held: Held) => void workers.splice(workers.indexOf(held), 1);

  /** A worker gets the job; `isRepeat`: one that lay in the queue before, or comes again. */
  async function claim(isRepeat: boolean): Promise<void> {
    if (!isRepeat) await databases.sql('notification', PUBLISH, [id]);
    const answer = await claims.claim(id);
    expect(answer).not.toBe('unknown');
    if (typeof answer === 'string') return;
    const { status, isLeased, wasLeased, isDue } = before;
    expect({ status, isLeased, wasLeased, isDue }, 'claimed is only what waits for it').toEqual({
      status: 'pending',
      isLeased: false,
      wasLeased: false,
      isDue: true,
    });
    expect(answer.token, 'each claim has a token of its own').toBe(before.token + 1);
    workers.push({ id, token: answer.token, hasAttempt: false, outcome: null });
  }

  async function start(held: Held): Promise<void> {
    // This is the first provider of the chain, or the one before it surely did not take the message.
    if (held.hasAttempt ? !isPassedOn(held.outcome) : held.outcome !== null) return undefined;
    const ended = held.outcome === null ? null : toEnded(held.outcome);
    const earlier = await readAttempts(id, before.attemptsBefore);
    const answer = await claims.startAttempt({
      id,
      token: held.token,
      provider: `provider-${before.attempts}`,
      ended,
    });
    const holds = before.status === 'pending' && before.token === held.token && before.isLeased;
    if (!holds) return expect(answer, 'nothing is sent without the claim').toBe('lost');
    if (answer !== 'started') {
      if (!held.hasAttempt) held.outcome = 'permanent';
      return expect(answer).toBe(before.isPastDeadline ? 'EXPIRED' : 'never refused');
    }
    expect(before.isPastDeadline, 'nothing is sent after the deadline').toBe(false);
    if (onAmbiguous === 'fail') {
      const ends = earlier.map((attempt) => (attempt.token === held.token ? held.outcome : attempt.class));
      expect(ends, 'at most once: nothing is handed over while an earlier one may have arrived').toEqual(
        ends.map((end) => (isPassedOn(end) ? end : 'surely not taken')),
      );
    }
    held.outcome = null;
    held.hasAttempt = true;
    return undefined;
  }

  async function report(told: Report): Promise<void> {
    const answers = await reportStatus(deps, 'email', [told, told], WORKER);
    if (!Array.isArray(answers)) throw new Error(`refused: ${JSON.stringify(answers)}`);
    const [first, again] = answers;
    const { token, class: outcome } = told.attempt ?? {};
    const hasAttempt = (await readAttempts(id, 0)).some((attempt) => attempt.token === token);
    if (first?.code === 200 && hasAttempt) expect(again?.code, 'a repeat is taken too').toBe(200);
    if (token !== before.token && outcome !== 'accepted')
      expect(await read(id), 'what an older claim led to changes nothing').toEqual(before);
  }

  /** A worker tells what became of its claim; what the network loses or repeats, it may bring later. */
  async function tell(held: Held, arrives: boolean): Promise<void> {
    if (held.outcome === null) return;
    const told = toReport(held, held.outcome);
    reports.push(told);
    forget(held);
    if (arrives) await report(told);
  }

  async function keep(held: Held): Promise<void> {
    if (held.outcome === null || !held.hasAttempt) return;
    reports.push(toReport(held, held.outcome));
    forget(held);
    await claims.keepOutcome(toKept(held, held.outcome));
  }

  async function giveBack(held: Held): Promise<void> {
    await claims.release(held);
    if (held.hasAttempt) expect(await read(id), 'what may have been handed over is not given back').toEqual(before);
    else forget(held);
  }

  async function take(one: Step): Promise<void> {
    const held = 'back' in one ? heldBy(one.back) : undefined;
    switch (one.do) {
      case 'claim':
        await claim(one.isRepeat);
        break;
      case 'start':
        if (held) await start(held);
        break;
      case 'start all at once': {
        await Promise.all(workers.filter(({ hasAttempt }) => !hasAttempt).map(start));
        break;
      }
      case 'finish':
        if (held?.hasAttempt && held.outcome === null) held.outcome = one.outcome;
        break;
      case 'tell':
        if (held) await tell(held, one.arrives);
        break;
      case 'repeat': {
        const told = reports.at(-1 - one.back);
        if (told) await report(told);
        break;
      }
      case 'keep':
        if (held) await keep(held);
        break;
      case 'give back':
        if (held) await giveBack(held);
        break;
      case 'crash':
        if (held) forget(held);
        break;
      case 'pass':
        await pass(id, one.seconds);
        break;
      case 'sweep':
        await sweepOnce(deps);
        break;
      case 'lapse':
        await pass(id, LEASE_SECONDS + 1);
        await sweepOnce(deps);
        await pass(id, 100);
        break;
      case 'lose the broker':
        await requeueUnclaimed(pool);
        break;
      case 'cancel':
        await cancelNotification(deps, id, null, ADMIN);
        break;
      case 'replay':
        replays += Number((await replayNotification(pool, id, null, ADMIN)).kind === 'replayed');
        break;
    }
    await check(one.do);
  }

  /** What holds after every step. */
  async function check(what: string): Promise<void> {
    const after = await read(id);
    expect(after.token, 'tokens only grow').toBeGreaterThanOrEqual(before.token);
    expect(after.version, 'versions only grow').toBeGreaterThanOrEqual(before.version);
    if (before.status === 'delivered') expect(after.status, 'delivered stays').toBe('delivered');
    if (before.status === 'failed' && what !== 'replay') expect(after.status, 'failed stays').toBe('failed');
    if (after.status !== 'pending')
      expect(after.wasLeased || after.isLeased, 'nobody holds what has ended').toBe(false);
    if (after.status === 'pending' && !after.isLeased && !after.wasLeased)
      expect(after.isQueued, 'somebody will hear of it when it is due').toBe(true);
    expect(after.attempts, 'each attempt is counted').toBe((await readAttempts(id, 0)).length);
    const { changes, ends } = await readHistory(id);
    expect(changes, 'the events follow each other').toEqual(toChain(changes));
    expect(ends, 'a run ends once').toBe(replays + Number(after.status !== 'pending'));
    before = after;
  }

  return {
    take,
    /** With workers that do their work, and with whatever the crashed ones left behind, it comes to its end. */
    async mustEnd(): Promise<void> {
      workers.length = 0;
      for (let turn = 0; before.status === 'pending' && turn < 3; turn += 1) {
        await take({ do: 'lapse' });
        await take({ do: 'claim', isRepeat: false });
        const held = heldBy(0);
        if (held === undefined) continue;
        await take({ do: 'start', back: 0 });
        await take({ do: 'finish', back: 0, outcome: 'accepted' });
        await take({ do: 'tell', back: 0, arrives: true });
      }
      expect(before.status, 'it ends').not.toBe('pending');
    },
  };
}

async function givenNotification(onAmbiguous: 'resend' | 'fail', expiresInSeconds: number | null): Promise<string> {
  const id = uuidv7();
  const accepted = await store.accept({
    id,
    clientId: 'machine',
    requestId: id,
    hash: '00'.repeat(32),
    type: 'email',
    userId: randomUUID(),
    templateCode: 'machine',
    templateVersion: 1,
    locale: 'en',
    priority: 5,
    onAmbiguous,
    sendAt: null,
    expiresAt: expiresInSeconds === null ? null : new Date(Date.now() + expiresInSeconds * 1_000),
    sensitive: false,
    address: `${id}@example.com`,
    contactVersion: 1,
    message: JSON.stringify({ type: 'email' }),
    metadata: '{}',
    correlationId: id,
    trace: null,
  });
  if (accepted.kind !== 'new') throw new Error(`not accepted: ${JSON.stringify(accepted)}`);
  return id;
}

/** Moves everything of a notification into the past, as time would. */
const pass = (id: string, seconds: number) =>
  databases.sql(
    'notification',
    `WITH moved AS (
       UPDATE outbox SET due_at = due_at - make_interval(secs => $2) WHERE notification_id = $1)
     UPDATE notification SET due_at = due_at - make_interval(secs => $2), lease_until = lease_until - make_interval(secs => $2),
       expires_at = expires_at - make_interval(secs => $2), failing_since = failing_since - make_interval(secs => $2) WHERE id = $1`,
    [id, seconds],
  );

async function read(id: string) {
  const [row] = await databases.sql(
    'notification',
    `SELECT status, token, version, attempts, attempts_before AS "attemptsBefore", coalesce(lease_until > now(), false) AS "isLeased",
       coalesce(lease_until <= now(), false) AS "wasLeased", due_at <= now() AS "isDue",
       coalesce(expires_at <= now(), false) AS "isPastDeadline",
       EXISTS (SELECT FROM outbox o WHERE o.notification_id = notification.id AND o.key = 'email' AND o.due_at >= notification.due_at) AS "isQueued"
     FROM notification WHERE id = $1`,
    [id],
  );
  return row as {
    status: 'pending' | 'delivered' | 'failed';
    token: number;
    version: number;
    attempts: number;
    attemptsBefore: number;
    isLeased: boolean;
    wasLeased: boolean;
    isDue: boolean;
    isPastDeadline: boolean;
    /** A job that does not come too early waits in the outbox. */
    isQueued: boolean;
  };
}

const readAttempts = async (id: string, after: number) =>
  (await databases.sql(
    'notification',
    'SELECT number, token, class FROM attempt WHERE notification_id = $1 AND number > $2 ORDER BY number',
    [id, after],
  )) as { number: number; token: number; class: OutcomeClass | null }[];

/** The changes of status as the feed will tell them, and how often it ended by its timeline. */
async function readHistory(id: string) {
  const changes = await databases.sql(
    'notification',
    'SELECT version, previous_status AS "from", status AS "to" FROM feed_in WHERE notification_id = $1 ORDER BY id',
    [id],
  );
  const [row] = await databases.sql(
    'notification',
    `SELECT count(*)::integer AS ends FROM timeline
     WHERE notification_id = $1 AND event IN ('DELIVERED', 'FAILED', 'CANCELLED')`,
    [id],
  );
  return { changes, ends: row?.['ends'] };
}

/** The same events as they must be: each begins where the one before it ended. */
const toChain = (changes: { [key: string]: unknown }[]) =>
  changes.map((change, place) => ({
    version: place + 1,
    from: place === 0 ? null : changes[place - 1]?.['to'],
    to: change['to'],
  }));

const PUBLISH = 'DELETE FROM outbox WHERE notification_id = $1 AND due_at <= now()';

const isPassedOn = (outcome: OutcomeClass | null): boolean => outcome === 'transient' || outcome === 'configuration';

const toEnded = (outcome: OutcomeClass): EndedAttempt => ({
  provider: 'provider',
  class: outcome,
  reason: 'not now',
  retry_after_seconds: null,
  provider_message_id: null,
  results: [],
});

const toReport = ({ id, token }: Held, outcome: OutcomeClass): Report => ({
  notificationId: id,
  status: toReportedStatus(outcome),
  error: null,
  attempt: { token, class: outcome, reason: null, retryAfterSeconds: null, providerMessageId: null, results: null },
});

const toKept = ({ id, token }: Held, outcome: OutcomeClass) => ({
  notification_id: id,
  token,
  class: outcome,
  reason: null,
  retry_after_seconds: null,
  provider_message_id: null,
  results: null,
});
