import { isDeadLetter } from '../../contracts/failure-reason.ts';
import { NOTIFICATION_TYPES } from '../../contracts/jobs.ts';
import type { TopologyNames } from '../../contracts/topology.ts';
import type { Broker } from '../../platform/broker/broker.ts';
import { withDeadline, type Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import { isConnectionLost, withTransaction, type Pool, type PoolClient } from '../../platform/postgres.ts';
import { countOutcomes } from './counters.ts';
import { givenUp } from './decide.ts';
import {
  findAttempts,
  lockNotifications,
  applyChanges,
  changeOf,
  type AttemptOutcome,
  type AttemptRow,
  type Change,
  type LockedRow,
} from './outcomes.ts';
import { USER_DELETED } from './erase-user.ts';
import { requeueLong } from './outbox.ts';
import { toChange, type ReportDependencies } from './report-status.ts';

const INTERVAL_MS = 5_000;
/** It looks through all that is due; and what is lost was lost for minutes. */
const REQUEUE_INTERVAL_MS = 30_000;
const PING_MS = 1_000;
const BATCH = 100;
/** A notification claimed this often without one attempt kills its workers. */
const MAX_CLAIMS = 10;

/**
 * Starts looking for notifications whose worker is gone: their lease ran out and nobody reported. An outcome that the worker
 * kept is applied; an open attempt has an unknown outcome; without an attempt the notification is simply due again. And for
 * those that were published and that nobody has claimed for long, or not before their deadline.
 */
export function startSweeper(deps: SweepDependencies): Running {
  const { log } = deps;
  let stopped = false;
  let running: Promise<void> | null = null;
  let sweptAt = Date.now();
  let requeuedAt = 0;
  // While PostgreSQL was away no worker could report, so leases get one full turn of unbroken connection first. It is asked
  // every second, or a short outage between two sweeps would go unseen. That it is slow is no outage.
  const leaseMs = deps.leaseSeconds * 1_000;
  let connectedSince = Date.now();
  const loseConnection = () => void (connectedSince = Date.now());
  deps.pool.on('error', loseConnection);

  const sweep = async () => {
    try {
      // A network that leads nowhere gives no error, and no answer.
      await withDeadline(deps.pool.query('SELECT 1'), leaseMs / 4, 'PostgreSQL gave no answer').catch(
        (error: unknown) => {
          loseConnection();
          throw error;
        },
      );
      if (Date.now() - sweptAt < INTERVAL_MS) return;
      sweptAt = Date.now();
      // The clock alone decides here, so it need not wait for workers to report.
      while (!stopped && (await expireOnce(deps)) === BATCH);
      if (Date.now() - connectedSince < leaseMs) {
        deps.counters.sweepsSkipped.inc();
        return;
      }
      while (!stopped && (await sweepOnce(deps)) === BATCH);
      if (Date.now() - requeuedAt < REQUEUE_INTERVAL_MS) return;
      requeuedAt = Date.now();
      await requeueLost(deps);
    } catch (error) {
      if (isConnectionLost(error)) loseConnection();
      log.error({ err: error }, 'the sweep failed; the next one follows');
    }
  };
  const timer = setInterval(() => {
    if (stopped || running !== null) return;
    running = sweep().finally(() => (running = null));
  }, PING_MS);

  return {
    async stop() {
      stopped = true;
      clearInterval(timer);
      await running;
      deps.pool.off('error', loseConnection);
    },
  };
}

/** Publishes again what the broker must have lost. */
async function requeueLost({ pool, broker, names, counters, log, onQueued }: SweepDependencies): Promise<void> {
  if (broker.state !== 'up') return;
  for (const type of NOTIFICATION_TYPES) {
    const isEmpty = (await broker.depth(names.queues[type])) === 0;
    const requeued = await withTransaction(pool, async (client) =>
      (await tryLock(client)) ? requeueLong(client, type, isEmpty) : 0,
    );
    if (requeued === 0) continue;
    counters.requeued.inc({ case: 'lost' }, requeued);
    log.warn({ type, requeued }, 'published and not claimed for long: published again');
    onQueued();
  }
}

type SweepDependencies = ReportDependencies & {
  /** Its own: behind the requests of a busy service it would see outages where there are none. */
  pool: Pool;
  leaseSeconds: number;
  broker: Broker;
  names: TopologyNames;
  log: Logger;
};

/** @returns how many it ended or put back */
export async function sweepOnce(deps: ReportDependencies & { log: Logger }): Promise<number> {
  const changes = await withTransaction(deps.pool, async (client) => {
    if (!(await tryLock(client))) return [];
    const rows = await lockExpired(client);
    if (rows.length === 0) return [];
    const attempts = await findAttempts(client, rows);
    const swept = rows.map((row): Change => {
      const attempt = attempts.get(`${row.id}:${row.token}`);
      // An attempt of this lease whose outcome counted already left the notification due again: that was another claim.
      if (attempt === undefined || attempt.appliedAt !== null) return giveBack(row);
      return toChange(row, row.token, outcomeOf(attempt), attempt, deps.schedules[row.type]);
    });
    await applyChanges(client, swept);
    return swept;
  });
  if (changes.length === 0) return 0;
  const cases = countBy(changes, caseOf);
  for (const [name, count] of Object.entries(cases)) deps.counters.swept.inc({ case: name }, count);
  countOutcomes(
    deps.counters,
    changes.filter(({ attempt, status }) => attempt !== null || status !== 'pending'),
  );
  deps.log.warn(cases, 'leases ran out without a report');
  deps.onQueued();
  deps.onChanged();
  return changes.length;
}

/** Ends what no worker took before its deadline. @returns how many */
export async function expireOnce(deps: ReportDependencies): Promise<number> {
  const expired = await withTransaction(deps.pool, async (client) => {
    if (!(await tryLock(client))) return [];
    const { rows } = await client.query<{ id: string }>(
      `SELECT id FROM notification WHERE status = 'pending' AND lease_until IS NULL AND expires_at <= now() ORDER BY expires_at LIMIT ${BATCH}`,
    );
    if (rows.length === 0) return [];
    const locked = await lockNotifications(
      client,
      rows.map(({ id }) => id),
    );
    // One that was claimed since the look is its worker's to end.
    const changes = [...locked.values()]
      .filter((row) => row.status === 'pending' && !row.isLeased && !row.isExpired)
      .map((row): Change => {
        const end = givenUp(row, 'EXPIRED');
        return { ...changeOf(row), ...end, event: 'FAILED', isDeadLetter: isDeadLetter(end.reason) };
      });
    if (changes.length > 0) await applyChanges(client, changes);
    return changes;
  });
  if (expired.length === 0) return 0;
  deps.counters.swept.inc({ case: 'expired' }, expired.length);
  countOutcomes(deps.counters, expired);
  deps.onQueued();
  deps.onChanged();
  return expired.length;
}

const tryLock = async (client: PoolClient): Promise<boolean> => {
  const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS locked', [
    SWEEP_LOCK,
  ]);
  return rows[0]?.locked === true;
};

async function lockExpired(client: PoolClient): Promise<LockedRow[]> {
  const { rows } = await client.query<{ id: string }>(
    `SELECT id FROM notification WHERE status = 'pending' AND due_at <= now() AND lease_until <= now() ORDER BY due_at LIMIT ${BATCH}`,
  );
  if (rows.length === 0) return [];
  const locked = await lockNotifications(
    client,
    rows.map(({ id }) => id),
  );
  // One that was claimed or reported since the look stays as it is.
  return [...locked.values()].filter((row) => row.status === 'pending' && row.isExpired);
}

/** What a worker that is gone left of its last attempt. */
function outcomeOf(attempt: AttemptRow): AttemptOutcome {
  if (attempt.class !== null) return { ...attempt, class: attempt.class };
  // A device has it already; what became of the others does not change that.
  return attempt.wasAccepted ? { ...UNKNOWN, class: 'accepted' } : UNKNOWN;
}

const caseOf = ({ attempt, status }: Change) => {
  if (attempt === null) return status === 'failed' ? 'given_up' : 'given_back';
  return attempt.class === 'unknown' ? 'unknown' : 'kept';
};

function giveBack(row: LockedRow): Change {
  const isPoison = row.claims >= MAX_CLAIMS;
  if (row.isErased) return { ...changeOf(row), ...givenUp(row, 'CANCELLED'), event: 'CANCELLED', why: USER_DELETED };
  return {
    ...changeOf(row),
    status: isPoison ? 'failed' : 'pending',
    reason: isPoison ? givenUp(row, 'RETRIES_EXHAUSTED').reason : null,
    event: isPoison ? 'FAILED' : 'RETRY_SCHEDULED',
    error: 'a worker claimed it and was gone before it sent anything',
    isEvent: isPoison,
    isGiveBack: true,
    delayMs: isPoison ? null : 0,
    isDeadLetter: isPoison,
  };
}

const UNKNOWN: AttemptOutcome = {
  class: 'unknown',
  reason: 'the worker was gone before it told the outcome',
  retryAfterSeconds: null,
  providerMessageId: null,
  results: null,
};

const countBy = <T>(items: T[], keyOf: (item: T) => string) =>
  items.reduce<Record<string, number>>(
    (counts, item) => ({ ...counts, [keyOf(item)]: (counts[keyOf(item)] ?? 0) + 1 }),
    {},
  );

/** Any constant; one sweeper at a time. */
const SWEEP_LOCK = 7_201_128;
