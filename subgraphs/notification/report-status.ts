import { isDeadLetter } from '../../contracts/failure-reason.ts';
import type { NotificationType } from '../../contracts/jobs.ts';
import { MAX_REPORTS, type OutcomeClass, type Status, type TargetResult } from '../../contracts/report.ts';
import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import { countOutcomes, type Counters } from './counters.ts';
import { decide, type RetrySchedule } from './decide.ts';
import {
  applyChanges,
  changeOf,
  findAttempts,
  keepStaleOutcomes,
  lockNotifications,
  type AttemptOutcome,
  type AttemptRow,
  type Change,
  type LockedRow,
} from './outcomes.ts';

/** One report, its enums in the database's spelling. `attempt` comes from workers only. */
export type Report = {
  notificationId: string;
  status: Status;
  error: string | null;
  attempt: {
    token: number;
    class: OutcomeClass;
    reason: string | null;
    retryAfterSeconds: number | null;
    providerMessageId: string | null;
    results: TargetResult[] | null;
  } | null;
};

/** `code` is an HTTP status: 200 taken or known already, 404 no such notification, 409 refused. */
export type ReportResult = {
  notificationId: string;
  code: 200 | 404 | 409;
  status: Status | null;
  message: string | null;
};

export type ReportDependencies = {
  pool: Pool;
  schedules: Record<NotificationType, RetrySchedule>;
  counters: Counters;
  /** Called after the commit of changes that put rows into the outbox. */
  onQueued: () => void;
  /** Called after the commit of status changes. */
  onChanged: () => void;
};

/**
 * Takes reports on notifications of one type: this, and nothing else, decides what they mean. One transaction for all of
 * them; a second report on the same notification waits for the first. Results are in the reports' order.
 */
export async function reportStatus(
  deps: ReportDependencies,
  type: NotificationType,
  reports: Report[],
  viewer: Viewer,
): Promise<ReportResult[] | Refusal> {
  if (reports.length === 0 || reports.length > MAX_REPORTS) {
    return refuse('BAD_USER_INPUT', `reports must have 1 to ${MAX_REPORTS} items`, 'reports', 'INVALID');
  }
  if (!isWorker(viewer) && reports.some((report) => report.attempt !== null)) {
    return refuse(
      'FORBIDDEN',
      "attempt is for workers: report without it, or with a worker's key",
      'attempt',
      'FORBIDDEN',
    );
  }
  const results: ReportResult[] = [];
  let rest = reports.map((report, index) => ({
    report: { ...report, notificationId: report.notificationId.toLowerCase() },
    index,
  }));
  while (rest.length > 0) {
    const round = rest.filter(
      ({ report }, place) => rest.findIndex((other) => other.report.notificationId === report.notificationId) === place,
    );
    const answers = await takeRound(
      deps,
      type,
      round.map(({ report }) => report),
      viewer,
    );
    round.forEach(({ index }, place) => (results[index] = answers[place] as ReportResult));
    rest = rest.filter((item) => !round.includes(item));
  }
  return results;
}

async function takeRound(
  deps: ReportDependencies,
  type: NotificationType,
  reports: Report[],
  viewer: Viewer,
): Promise<ReportResult[]> {
  const { results, verdicts, changes } = await withTransaction(deps.pool, async (client) => {
    const known = reports.filter((report) => isUuid(report.notificationId));
    const rows =
      known.length === 0
        ? new Map<string, LockedRow>()
        : await lockNotifications(
            client,
            known.map((report) => report.notificationId),
          );
    const attempts = await findAttempts(
      client,
      known.flatMap(({ notificationId, attempt }) =>
        attempt === null ? [] : [{ id: notificationId, token: attempt.token }],
      ),
    );
    const verdicts = reports.map((report) => {
      const id = report.notificationId;
      const row = rows.get(id);
      if (row === undefined || row.type !== type || !mayReport(viewer, row)) return notFound(report);
      return report.attempt === null
        ? judgeLegacy(report, row)
        : judge(report.attempt, row, attempts.get(`${id}:${report.attempt.token}`), deps.schedules[type]);
    });

    const taken = verdicts.flatMap(({ change }) => (change === null ? [] : [change]));
    if (taken.length > 0) await applyChanges(client, taken);
    const stale = verdicts.flatMap(({ keep }) => (keep === null ? [] : [keep]));
    if (stale.length > 0) await keepStaleOutcomes(client, stale);
    return {
      results: verdicts.map(({ code, status, message }, place) => ({
        notificationId: reports[place]?.notificationId ?? '',
        code,
        status,
        message,
      })),
      verdicts,
      changes: taken,
    };
  });
  countOutcomes(deps.counters, changes);
  verdicts.forEach(({ code, isLate }, place) => {
    const said = reports[place]?.attempt;
    if (code === 409 && said) deps.counters.stale.inc({ type, class: said.class });
    if (isLate) deps.counters.lateDelivered.inc({ type });
  });
  if (changes.some(({ status }) => status !== 'delivered')) deps.onQueued();
  deps.onChanged();
  return results;
}

type Verdict = {
  code: ReportResult['code'];
  status: Status | null;
  message: string | null;
  change: Change | null;
  keep: ({ id: string; token: number } & AttemptOutcome) | null;
  /** A delivery that was told after another claim, or after it was recorded that nobody knew. */
  isLate: boolean;
};

/** A worker's report. Fencing compares tokens, never clocks. */
export function judge(
  report: NonNullable<Report['attempt']>,
  row: LockedRow,
  attempt: AttemptRow | undefined,
  schedule: RetrySchedule,
): Verdict {
  const { token, ...said } = report;
  const outcome = row.isErased ? { ...said, reason: null, results: null } : said;
  const wasApplied = attempt?.appliedAt != null;
  const take = (): Verdict => {
    const change = toChange(row, token, outcome, attempt, schedule);
    const isLate = outcome.class === 'accepted' && (token < row.token || wasApplied);
    return { code: 200, status: change.status, message: null, change, keep: null, isLate };
  };
  // That nobody knew is no outcome to insist on when the worker comes back and knows.
  const isRecorded = wasApplied && !(attempt.class === 'unknown' && outcome.class === 'accepted');
  if (wasApplied && attempt.class === outcome.class) return answer(200, row.status, 'this outcome was recorded before');

  if (row.status === 'pending' && token === row.token && !isRecorded) {
    // A claim without an attempt that was reported already, perhaps before a replay: the lease is gone, nothing is left to take.
    return attempt === undefined && !row.isLeased && !row.isExpired
      ? answer(200, row.status, 'this outcome was recorded before')
      : take();
  }
  // It was delivered, whoever holds the newer lease; that lease is void with the status.
  if (row.status === 'pending' && token < row.token && outcome.class === 'accepted' && !isRecorded) return take();

  return {
    ...answer(
      409,
      row.status,
      row.status === 'pending' ? `the token is stale: ${row.token} holds` : `the notification is ${row.status} already`,
    ),
    keep: attempt === undefined || wasApplied ? null : { id: row.id, token, ...outcome },
  };
}

/** A client's own report, without an attempt. */
export function judgeLegacy(report: Pick<Report, 'status' | 'error'>, row: LockedRow): Verdict {
  if (row.status !== 'pending') {
    return report.status === row.status
      ? answer(200, row.status, null)
      : answer(409, row.status, `the notification is ${row.status} already`);
  }
  if (report.status === 'pending') return answer(200, row.status, null);
  if (row.isLeased) return answer(409, row.status, 'a worker is delivering the notification');
  const change: Change = {
    ...changeOf(row),
    status: report.status,
    reason: report.status === 'failed' ? 'REJECTED' : null,
    event: report.status === 'failed' ? 'FAILED' : 'DELIVERED',
    error: report.error,
    isDeadLetter: report.status === 'failed',
  };
  return { code: 200, status: report.status, message: null, change, keep: null, isLate: false };
}

/** What an outcome changes. @param attempt the one that it belongs to; undefined: nothing was started */
export function toChange(
  row: LockedRow,
  token: number,
  outcome: AttemptOutcome,
  attempt: Pick<AttemptRow, 'provider'> | undefined,
  schedule: RetrySchedule,
): Change {
  const decision = decide(row, outcome, schedule, row.now, Math.random());
  const reason = decision.status === 'failed' ? decision.reason : null;
  return {
    ...changeOf(row),
    status: decision.status,
    reason,
    event: EVENT_OF[decision.status],
    delayMs: decision.status === 'pending' ? decision.delayMs : null,
    usedUp: decision.status === 'pending' && decision.usedUp,
    isEvent: decision.status !== 'pending' || decision.usedUp,
    error: outcome.reason,
    provider: attempt?.provider ?? null,
    attempt: attempt === undefined ? null : { token, ...outcome },
    isDeadLetter: reason !== null && isDeadLetter(reason),
  };
}

const EVENT_OF = { delivered: 'DELIVERED', failed: 'FAILED', pending: 'RETRY_SCHEDULED' } as const;

const answer = (code: ReportResult['code'], status: Status | null, message: string | null): Verdict => ({
  code,
  status,
  message,
  change: null,
  keep: null,
  isLate: false,
});

const notFound = (report: Report): Verdict =>
  answer(404, null, `there is no such notification: ${report.notificationId}`);

/** The admin has every right, also a worker's. */
const isWorker = (viewer: Viewer) => viewer.kind === 'worker' || viewer.kind === 'admin';

const mayReport = (viewer: Viewer, row: LockedRow) => isWorker(viewer) || viewer.id === row.clientId;
