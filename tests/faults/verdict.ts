import type { Herald } from './herald.ts';
import { isCopy, isUnanswered, type Entry } from './provider.ts';
import type { Sending } from './send.ts';

/** What one run came to. `problems` is empty when every promise held. */
export type Verdict = {
  accepted: number;
  delivered: number;
  failed: number;
  /** Accepted, and neither handed over nor failed. */
  lost: number;
  /** Messages handed over once more than they should have been. */
  duplicated: number;
  /** How many of them the faults excuse: hand-overs that were open when a worker was killed or frozen, or that were never answered. */
  allowed: number;
  /** Ended as OUTCOME_UNKNOWN, and how many of these the provider had taken. */
  unknown: number;
  unknownTaken: number;
  problems: string[];
};

/**
 * Compares what was accepted, what the database says, and what the provider's ledger says.
 * @param options.excused `id:token` of each attempt that excuses one further hand-over
 * @param options.leavesUnknown whether any attempt may end as unknown; else only those do that are excused or were not answered
 */
export async function judge(
  herald: Herald,
  {
    run,
    sending,
    excused,
    leavesUnknown,
  }: { run: string; sending: Sending; excused: ReadonlySet<string>; leavesUnknown: boolean },
): Promise<Verdict> {
  const problems = [...sending.complaints];
  const rows = (await herald.sql(NOTIFICATIONS, [`${run}-%`])) as NotificationRow[];
  const stored = new Map(rows.map((row) => [row.id, row]));
  const ledger = toLedger(herald.provider.ledger, stored);

  complain(
    problems,
    'accepted, and not in the database',
    [...sending.accepted.keys()].filter((id) => !stored.has(id)),
  );
  complain(
    problems,
    'in the database, and never accepted',
    [...stored.keys()].filter((id) => !sending.accepted.has(id)),
  );

  const statusIs = (status: string) => rows.filter((row) => row.status === status);
  const entriesOf = (id: string) => ledger.get(id) ?? [];
  const copiesOf = (id: string) => entriesOf(id).filter(isCopy).length;
  const [delivered, failed] = [statusIs('delivered'), statusIs('failed')];
  const unknown = failed.filter((row) => row.reason === 'OUTCOME_UNKNOWN');
  const lost = [...sending.accepted.keys()].filter((id) => stored.get(id)?.status !== 'failed' && copiesOf(id) === 0);

  complain(
    problems,
    'still pending',
    statusIs('pending').map(({ id }) => id),
  );
  complain(problems, 'lost', lost);
  complain(
    problems,
    'delivered, and the provider never accepted it',
    delivered.filter(({ id }) => copiesOf(id) === 0).map(({ id }) => id),
  );
  complain(
    problems,
    'failed for a known reason, and the provider took it',
    failed
      .filter(({ id, reason }) => reason !== 'OUTCOME_UNKNOWN' && copiesOf(id) > 0)
      .map(({ id, reason }) => `${id} ${reason}`),
  );
  complain(
    problems,
    'failed for a reason that no fault gives',
    failed
      .filter(({ reason }) => reason !== 'OUTCOME_UNKNOWN' && reason !== 'REJECTED')
      .map(({ id, reason }) => `${id} ${reason}`),
  );
  complain(
    problems,
    'OUTCOME_UNKNOWN without onAmbiguous FAIL',
    unknown.filter(({ onAmbiguous }) => onAmbiguous !== 'fail').map(({ id }) => id),
  );

  const excusedIds = [...excused].map((attempt) => attempt.split(':')[0]);
  complain(
    problems,
    'OUTCOME_UNKNOWN, and nothing had left it unknown',
    unknown
      .filter(({ id }) => !leavesUnknown && !excusedIds.includes(id) && !entriesOf(id).some(isUnanswered))
      .map(({ id }) => id),
  );
  const surplus = rows.map((row) => ({
    ...row,
    extra: Math.max(0, copiesOf(row.id) - 1),
    excused: excusedIds.filter((id) => id === row.id).length + entriesOf(row.id).filter(isUnanswered).length,
  }));
  complain(
    problems,
    'handed over more often than the faults excuse',
    surplus.filter((row) => row.extra > row.excused).map(({ id }) => id),
  );
  complain(
    problems,
    'handed over twice in spite of onAmbiguous FAIL',
    surplus.filter(({ extra, onAmbiguous }) => extra > 0 && onAmbiguous === 'fail').map(({ id }) => id),
  );
  complain(
    problems,
    'handed over again sooner than the provider wanted',
    rows.filter(({ id }) => wasHurried(entriesOf(id))).map(({ id }) => id),
  );
  problems.push(...(await judgeFeed(herald, run, stored)), ...(await judgeRemains(herald)));

  const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
  return {
    accepted: sending.accepted.size,
    delivered: delivered.length,
    failed: failed.length,
    lost: lost.length,
    duplicated: sum(surplus.map(({ extra }) => extra)),
    allowed: sum(surplus.filter(({ onAmbiguous }) => onAmbiguous !== 'fail').map((row) => row.excused)),
    unknown: unknown.length,
    unknownTaken: unknown.filter(({ id }) => copiesOf(id) > 0).length,
    problems,
  };
}

/** Whether a hand-over began before an earlier refusal's Retry-After was over. */
const wasHurried = (entries: Entry[]): boolean =>
  entries.some(
    ({ at, retryAfterSeconds = 0 }, place) =>
      retryAfterSeconds > 0 &&
      entries.slice(place + 1).some((later) => later.event === 'begun' && later.at < at + retryAfterSeconds * 1_000),
  );

/** Seen through the feed, no status goes backwards, and nothing is missing. */
async function judgeFeed({ sql }: Herald, run: string, stored: Map<string, NotificationRow>): Promise<string[]> {
  const problems: string[] = [];
  const [range] = await sql(
    'SELECT count(*)::integer AS count, (max(seq) - min(seq) + 1)::integer AS span, min(seq)::integer AS first FROM feed',
  );
  if (range?.['count'] !== range?.['span'] || range?.['first'] !== 1)
    problems.push(`the feed has a gap: ${JSON.stringify(range)}`);

  const events = (await sql(EVENTS, [`${run}-%`])) as EventRow[];
  const last = new Map<string, EventRow>();
  const backwards: string[] = [];
  for (const event of events) {
    const before = last.get(event.id);
    const follows =
      before === undefined
        ? event.version === 1 && event.status === 'pending' && event.previousStatus === null
        : event.version === before.version + 1 && event.previousStatus === before.status && before.status === 'pending';
    if (!follows) backwards.push(`${event.id} ${before?.version} ${before?.status} → ${event.version} ${event.status}`);
    last.set(event.id, event);
  }
  complain(problems, 'its status went backwards, or its version does not rise by one', backwards);
  complain(
    problems,
    'the feed says otherwise than the notification',
    [...stored.values()]
      .filter((row) => last.get(row.id)?.status !== row.status || last.get(row.id)?.version !== row.version)
      .map(({ id }) => id),
  );
  const ends = await sql(ENDS, [`${run}-%`]);
  complain(
    problems,
    'did not end once, by its timeline',
    ends.map(({ id, ends: times }) => `${id} ${times}`),
  );
  return problems;
}

/** Nothing may be left that waits for somebody. */
async function judgeRemains({ sql }: Herald): Promise<string[]> {
  const [remains] = await sql(REMAINS);
  const left = Object.entries(remains ?? {}).filter(([, count]) => count !== 0);
  return left.map(([what, count]) => `left over: ${count} ${what}`);
}

/** Resolves when nothing is left to do. */
export async function isDrained({ sql }: Herald): Promise<boolean> {
  const [remains] = await sql(REMAINS);
  return Object.values(remains ?? { none: 1 }).every((count) => count === 0);
}

function toLedger(ledger: readonly Entry[], stored: Map<string, NotificationRow>): Map<string, Entry[]> {
  const byId = new Map<string, Entry[]>();
  for (const entry of ledger) {
    if (!stored.has(entry.notificationId)) continue;
    const entries = byId.get(entry.notificationId);
    if (entries) entries.push(entry);
    else byId.set(entry.notificationId, [entry]);
  }
  return byId;
}

function complain(problems: string[], what: string, which: string[]): void {
  if (which.length > 0) problems.push(`${which.length} × ${what}: ${which.slice(0, 3).join(', ')}`);
}

const NOTIFICATIONS = `
  SELECT id, status, reason, version, on_ambiguous AS "onAmbiguous" FROM notification WHERE request_id LIKE $1`;
const EVENTS = `
  SELECT notification_id AS id, version, status, previous_status AS "previousStatus" FROM feed WHERE request_id LIKE $1 ORDER BY seq`;
const ENDS = `
  SELECT n.id, count(t.id)::integer AS ends FROM notification n
  LEFT JOIN timeline t ON t.notification_id = n.id AND t.event IN ('DELIVERED', 'FAILED')
  WHERE n.request_id LIKE $1 GROUP BY n.id HAVING count(t.id) <> 1`;
const REMAINS = `
  SELECT (SELECT count(*) FROM notification WHERE status = 'pending')::integer AS pending,
    (SELECT count(*) FROM notification WHERE status <> 'pending' AND lease_until IS NOT NULL)::integer AS "leases of ended ones",
    (SELECT count(*) FROM outbox)::integer AS "outbox rows",
    (SELECT count(*) FROM feed_in)::integer AS "events without a number"`;

type NotificationRow = {
  id: string;
  status: string;
  reason: string | null;
  version: number;
  onAmbiguous: 'resend' | 'fail';
};
type EventRow = { id: string; version: number; status: string; previousStatus: string | null };
