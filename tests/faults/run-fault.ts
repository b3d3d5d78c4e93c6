import { setTimeout as wait } from 'node:timers/promises';
import { until } from '../until.ts';
import { EMAIL_WORKERS, type Herald, type WorkerName } from './herald.ts';
import { ACCEPT, type Behave } from './provider.ts';
import { createSeeded, type Seeded } from './seeded.ts';
import { startSending, type Given, type Sending } from './send.ts';
import { isDrained, judge, type Verdict } from './verdict.ts';

/** Something that goes wrong while notifications flow. `inject` resolves when it is over and all is mended. */
export type Fault = {
  name: string;
  inject(stage: Stage): Promise<void>;
  /** How the provider answers; by default it takes everything within 40 ms. */
  behave?: (seeded: Seeded) => Behave;
  /**
   * Whether nobody can know what became of some attempts. Without it only those may end as OUTCOME_UNKNOWN that the fault excuses
   * or that the provider did not answer.
   */
  leavesUnknown?: true | undefined;
  /** With which variables the e-mail workers run meanwhile. */
  emailVariables?: Record<string, string>;
  /** Why it can't be done here, if it can't. */
  skipped?: string | undefined;
  /** So many times as many notifications as other runs have. */
  times?: number;
  /** Notifications a second; 100 by default. */
  perSecond?: number;
};

/** What a fault has to work with. */
export type Stage = {
  herald: Herald;
  seeded: Seeded;
  sending: Sending;
  count: number;
  /** Waits for a seeded moment of the first, second … of `rounds` parts of the sending. */
  moment(round?: number, rounds?: number): Promise<void>;
  /** Attempts of a worker that the ledger saw begin and of whose end the database knows nothing. */
  openHandovers(worker: WorkerName): Promise<Attempt[]>;
  /** Excuses one further hand-over for each attempt. */
  excuse(attempts: Attempt[]): void;
  /** Makes the run red. */
  complain(problem: string): void;
  /** A word for the table's last column. */
  note(text: string): void;
};

/** One hand-over, as the database knows it. */
export type Attempt = { id: string; token: number };

export type Result = Verdict & { fault: string; drainSeconds: number; notes: string[]; refusals: Sending['refusals'] };

const DRAIN_MS = 60_000;

/** One run: notifications flow, the fault comes and goes, and when nothing is left to do everything is compared. */
export async function runFault(
  herald: Herald,
  fault: Fault,
  { run, seed, given, ...options }: { run: string; seed: string; count: number; given: Given },
): Promise<Result> {
  const seeded = createSeeded(`${seed} ${fault.name}`);
  const count = options.count * (fault.times ?? 1);
  const drainMs = DRAIN_MS + count * 20;
  herald.provider.behaves(fault.behave?.(createSeeded(`${seed} ${fault.name} provider`)) ?? takesAll(seeded));
  if (fault.emailVariables) await restartEmailWorkers(herald, fault.emailVariables);
  const sending = startSending(herald, {
    run,
    count,
    perSecond: fault.perSecond ?? 100,
    given,
    seeded: createSeeded(`${seed} sends`),
  });
  const excused = new Set<string>();
  const notes: string[] = [];
  const complaints: string[] = [];

  const injected = (async () => {
    await fault.inject({
      herald,
      seeded,
      sending,
      count,
      moment: async (round = 0, rounds = 1) => {
        await sending.reached(Math.ceil(count * (0.1 + (0.7 * (round + seeded.next())) / rounds)));
        await wait(seeded.between(0, 100));
      },
      openHandovers: (worker) => findOpenHandovers(herald, worker),
      excuse(attempts) {
        for (const { id, token } of attempts) excused.add(`${id}:${token}`);
      },
      complain: (problem) => complaints.push(problem),
      note: (text) => notes.push(text),
    });
  })();
  await Promise.all([injected, sending.done]);

  const since = performance.now();
  const late = await until(() => isDrained(herald), { timeoutMs: drainMs, everyMs: 50 }).then(
    () => [],
    () => [`not drained within ${drainMs / 1_000} s`],
  );
  const drainSeconds = (performance.now() - since) / 1_000;
  if (fault.emailVariables) await restartEmailWorkers(herald);
  const verdict = await judge(herald, { run, sending, excused, leavesUnknown: fault.leavesUnknown === true });
  return {
    ...verdict,
    problems: [...complaints, ...late, ...verdict.problems],
    fault: fault.name,
    drainSeconds,
    notes,
    refusals: sending.refusals,
  };
}

export const takesAll =
  (seeded: Seeded, [low, high] = [10, 40]): Behave =>
  () => ({ ...ACCEPT, afterMs: seeded.between(low ?? 0, high ?? 0) });

/** Only while nothing is on its way. */
async function restartEmailWorkers(herald: Herald, variables?: Record<string, string>): Promise<void> {
  for (const worker of EMAIL_WORKERS) {
    await herald.kill(worker);
    herald.start(worker, variables);
  }
  await herald.ready();
}

async function findOpenHandovers(herald: Herald, worker: WorkerName): Promise<Attempt[]> {
  const lastVia = new Map<string, string>();
  for (const { notificationId, event, via } of herald.provider.ledger) {
    if (event === 'begun') lastVia.set(notificationId, via);
  }
  return (await findOpenAttempts(herald)).filter(({ id }) => lastVia.get(id) === worker);
}

/** Neither reported nor kept. */
export async function findOpenAttempts({ sql }: Herald, startedBefore: unknown = 'infinity'): Promise<Attempt[]> {
  const rows = await sql(OPEN, [startedBefore]);
  return rows.map(({ id, token }) => ({ id: String(id), token: Number(token) }));
}

/** An older attempt that a newer one has overtaken is nobody's any more. */
const OPEN = `
  SELECT a.notification_id AS id, a.token FROM attempt a JOIN notification n ON n.id = a.notification_id
  WHERE a.finished_at IS NULL AND n.status = 'pending' AND a.token = n.token AND a.started_at <= $1`;
