import { setTimeout as wait } from 'node:timers/promises';
import { adapters } from '../../workers/adapters.ts';
import { until } from '../until.ts';
import { EMAIL_WORKERS, LEASE_MS, WORKERS, type ProcessName, type Target, type WorkerName } from './herald.ts';
import { ACCEPT, type Entry } from './provider.ts';
import { findOpenAttempts, takesAll, type Fault, type Stage } from './run-fault.ts';
import { shareOf } from './seeded.ts';

/** Long enough for the sweeper to have found a lease that ran out. */
const SWEPT_MS = LEASE_MS + 6_000;

/** How long the workers seem to have been away; a job is missed after 5 minutes where the queue is empty. */
const AWAY_MINUTES = 6;

/** The points in a worker at which it is killed; nothing in the worker knows of them. */
const workerPoints: Fault[] = [
  atPoint('before it starts the attempt', async ({ herald }, worker) => {
    // Without an answer on preferences it stands still between claim and attempt.
    const held = [...herald.links('redis', worker), ...herald.links('user', worker)];
    for (const link of held) link.hold();
    await until(async () => Number((await herald.sql(CLAIMED))[0]?.['count']) >= 1, { timeoutMs: 1_500 });
    return 'nothing open';
  }),
  atPoint('before it sends', async ({ herald }, worker) => {
    const gate = herald.provider.close(worker, 'recipient');
    await until(() => gate.waiting >= 1, { timeoutMs: 1_500 });
    return 'nothing open';
  }),
  atPoint('after it sent, before the answer', async ({ herald }, worker) => {
    const gate = herald.provider.close(worker, 'answer');
    await until(() => gate.waiting >= 1, { timeoutMs: 1_500 });
    return 'open';
  }),
  atPoint('before it reports', async (stage, worker) => {
    for (const link of stage.herald.links('gateway', worker)) link.hold();
    // It tries for 2 s, then it would keep the outcome in the database.
    await wait(300);
    await until(async () => (await stage.openHandovers(worker)).length >= 1, { timeoutMs: 1_500 });
    return 'open';
  }),
  {
    ...atPoint('before it acks', async ({ herald }, worker) => {
      for (const link of herald.links('rabbitmq', worker)) link.hold();
      // What it has in its hands goes on to its end, and the ack of it stays in the link.
      const since = herald.provider.ledger.length;
      const isTaken = ({ via, event }: Entry) => via === worker && event === 'accepted';
      await until(() => herald.provider.ledger.slice(since).some(isTaken), { timeoutMs: 1_500 });
      return 'nothing open';
    }),
    leavesUnknown: undefined,
    // So that it always has some in its hands.
    behave: slowly,
  },
];

export const faults: Fault[] = [
  { name: 'none', inject: async () => {} },
  {
    name: 'kill -9 a worker, at any moment',
    leavesUnknown: true,
    behave: (seeded) => takesAll(seeded, [50, 150]),
    inject: async (stage) => {
      await rounds(stage, 5, async () => {
        const worker = stage.seeded.pick(WORKERS);
        await stage.herald.kill(worker);
        await excuseOpen(stage, worker);
        await wait(stage.seeded.between(0, 1_000));
        stage.herald.start(worker);
      });
      await stage.herald.ready();
    },
  },
  ...workerPoints,
  killing('notification', 5),
  killing('gateway', 4),
  killing('user', 4),
  killing('template', 3),
  {
    name: 'kill -9 RabbitMQ, and start it again',
    behave: slowly,
    inject: async (stage) => {
      await rounds(stage, 2, async () => {
        await stage.herald.rabbitmq.kill9();
        await stage.herald.rabbitmq.restart();
        await stage.herald.ready();
      });
    },
  },
  {
    name: "delete RabbitMQ's data",
    behave: slowly,
    inject: async (stage) => {
      await rounds(stage, 2, async () => {
        await noteBacklog(stage);
        await stage.herald.wipeRabbitmq();
        await stage.herald.ready();
      });
    },
  },
  {
    name: 'stop PostgreSQL at once, and start it again',
    inject: async (stage) => {
      await rounds(stage, 3, async () => {
        await stage.herald.postgres.stopNow();
        await wait(stage.seeded.between(0, 1_000));
        await stage.herald.postgres.start();
        await stage.herald.ready();
      });
    },
  },
  {
    name: 'PostgreSQL away for two leases',
    leavesUnknown: true,
    inject: async (stage) => {
      await stage.moment();
      await stage.herald.postgres.stopNow();
      await wait(2 * LEASE_MS);
      await stage.herald.postgres.start();
      await excuseAllOpen(stage);
      await stage.herald.ready();
    },
  },
  {
    name: 'the gateway away for three leases',
    // So that there is something to deliver in that time: no send can come in.
    behave: slowly,
    perSecond: 200,
    inject: async (stage) => {
      await stage.sending.reached(Math.ceil(stage.count / 3));
      await stage.herald.kill('gateway');
      const since = stage.herald.provider.ledger.length;
      await wait(3 * LEASE_MS);
      const taken = stage.herald.provider.ledger.slice(since).filter(({ event }) => event === 'accepted');
      stage.note(`${taken.length} handed over meanwhile`);
      stage.herald.start('gateway');
      await stage.herald.ready();
    },
  },
  {
    name: 'freeze a worker past its lease, and wake it',
    leavesUnknown: true,
    perSecond: 50,
    inject: async (stage) => {
      const { herald } = stage;
      await rounds(stage, 3, async (round) => {
        const worker = EMAIL_WORKERS[round % 2] ?? 'email-1';
        const link = herald.links('gateway', worker);
        // It wakes to reports that come too late, to messages that it has yet to send, to answers that came meanwhile.
        if (round === 0) {
          for (const way of link) way.hold();
          await until(async () => (await stage.openHandovers(worker)).length > 0, { timeoutMs: 1_500 });
        } else {
          const gate = herald.provider.close(worker, round === 1 ? 'recipient' : 'answer');
          await until(() => gate.waiting > 0, { timeoutMs: 5_000 });
        }
        herald.signal(worker, 'SIGSTOP');
        const since = await now(stage);
        await wait(1_500);
        await excuseStartedBefore(stage, since);
        await wait(SWEPT_MS);
        for (const way of link) way.open();
        herald.provider.open(worker);
        herald.signal(worker, 'SIGCONT');
        await herald.ready();
      });
    },
  },
  holding('PostgreSQL', 'postgres', { cutMs: 3_000, holdMs: 3_000 }),
  { ...holding('PostgreSQL, for two leases', 'postgres', { cutMs: 2 * LEASE_MS, holdMs: 2 * LEASE_MS, excuse: true }) },
  holding('RabbitMQ', 'rabbitmq', { cutMs: 5_000, holdMs: 8_000 }),
  holding('Redis', 'redis', { cutMs: 5_000, holdMs: 5_000 }),
  holding('the gateway, from the workers', 'gateway', { cutMs: 6_000, holdMs: 6_000 }),
  {
    name: 'memory alarm in RabbitMQ',
    inject: async ({ herald, moment }) => {
      await moment();
      await herald.rabbitmq.ctl('set_vm_memory_high_watermark', 'absolute', '1');
      await wait(5_000);
      await herald.rabbitmq.ctl('set_vm_memory_high_watermark', '0.4');
    },
  },
  workersAway('the workers away, with everything waiting', 2.5, async ({ herald }) => {
    // As after a longer time: the sweeper goes by the due time.
    await herald.sql(`UPDATE notification SET due_at = due_at - $1 * interval '1 minute' WHERE status = 'pending'`, [
      AWAY_MINUTES,
    ]);
    await wait(SWEPT_MS + 6_000);
  }),
  workersAway('the workers away for 5 minutes, with everything waiting', 25, () => wait(5 * 60_000)),
  {
    name: 'the provider refuses: for now, and mails for good',
    // Who is refused for good is always refused; the push sandbox knows no such thing.
    behave: (seeded) => (id, _round, via) => {
      if (shareOf(id) < 0.05 && via !== 'push-1') return { kind: 'never' };
      return seeded.next() < 0.3 ? { kind: 'later' } : ACCEPT;
    },
    inject: async () => {},
  },
  {
    name: 'the provider answers 500, and 429 with Retry-After',
    skipped: 'sendgrid' in adapters ? undefined : 'there is no provider sendgrid yet',
    emailVariables: { EMAIL_PROVIDERS: 'sendgrid' },
    behave: (seeded) => (_id, _round, via) => {
      const chance = seeded.next();
      if (chance < 0.15) return { kind: 'later' };
      return chance < 0.3 && via !== 'push-1' ? { kind: 'later', retryAfterSeconds: 4 } : ACCEPT;
    },
    inject: async ({ herald, sending, note }) => {
      const since = herald.provider.ledger.length;
      await sending.done;
      const refusals = herald.provider.ledger.slice(since).filter(({ event }) => event === 'refused');
      const limited = refusals.filter(({ retryAfterSeconds }) => retryAfterSeconds !== undefined);
      note(`${refusals.length - limited.length} answered 500, ${limited.length} answered 429`);
    },
  },
  {
    name: 'the provider refuses everything for a while',
    inject: async ({ herald, moment, seeded }) => {
      await moment();
      herald.provider.behaves(() => ({ kind: 'later' }));
      await wait(4_000);
      herald.provider.behaves(takesAll(seeded));
    },
  },
  {
    name: 'the provider takes messages and never answers',
    leavesUnknown: true,
    behave: (seeded) => () => (seeded.next() < 0.1 ? 'hang' : ACCEPT),
    inject: async () => {},
  },
  {
    name: 'the provider takes messages and resets the connection',
    leavesUnknown: true,
    behave: (seeded) => () => (seeded.next() < 0.2 ? 'reset' : ACCEPT),
    inject: async () => {},
  },
];

/** Kills a worker at one of its points, thrice. `reach` brings it there and says whether hand-overs are open at this point. */
function atPoint(where: string, reach: (stage: Stage, worker: WorkerName) => Promise<'open' | 'nothing open'>): Fault {
  return {
    name: `kill -9 a worker ${where}`,
    leavesUnknown: true,
    inject: async (stage) => {
      const { herald } = stage;
      let reached = 0;
      await rounds(stage, 3, async (round) => {
        const worker = EMAIL_WORKERS[round % 2] ?? 'email-1';
        const links = (['redis', 'user', 'gateway', 'rabbitmq'] as const).flatMap((target) =>
          herald.links(target, worker),
        );
        const point = await reach(stage, worker).catch(() => 'missed' as const);
        if (point === 'missed') stage.note('missed once, for want of sends');
        else reached += 1;
        // What it handed over before it came to this point must be recorded: then nothing excuses a second time.
        if (point === 'nothing open') {
          await until(async () => (await stage.openHandovers(worker)).length === 0, { timeoutMs: 1_500 });
        }
        await herald.kill(worker);
        if (point !== 'nothing open') await excuseOpen(stage, worker);
        // What it had not got out is gone with it.
        for (const link of links) link.cut();
        herald.provider.open(worker);
        for (const link of links) link.open();
        herald.start(worker);
        await herald.ready();
      });
      if (reached === 0) stage.complain('no worker came to this point, so nothing is proven');
    },
  };
}

/** Kills all workers, lets everything be sent and wait, and starts them again: little of it may have been published twice. */
function workersAway(name: string, times: number, waitLong: (stage: Stage) => Promise<unknown>): Fault {
  return {
    name,
    times,
    perSecond: 400,
    leavesUnknown: true,
    inject: async (stage) => {
      const { herald, sending, note } = stage;
      for (const worker of WORKERS) await herald.kill(worker);
      for (const worker of WORKERS) await excuseOpen(stage, worker);
      await sending.done;
      const [published] = await herald.sql(PUBLISHED);
      await waitLong(stage);
      const [again] = await herald.sql('SELECT sum(requeues)::integer AS count FROM notification');
      const share = (100 * again?.['count']) / stage.count;
      note(`${published?.['count']} published, ${again?.['count']} of them again (${share.toFixed(1)} % of all)`);
      if (share >= 1) stage.complain(`${again?.['count']} were published again`);
      for (const worker of WORKERS) herald.start(worker);
      await herald.ready();
    },
  };
}

/** Kills a service at seeded moments. The workers keep their outcomes meanwhile, so this excuses nothing. */
function killing(name: ProcessName, count: number): Fault {
  return {
    name: `kill -9 the ${name} service`.replace('gateway service', 'gateway'),
    inject: async (stage) => {
      const { herald } = stage;
      await rounds(stage, count, async () => {
        await herald.kill(name);
        await wait(stage.seeded.between(0, 1_000));
        herald.start(name);
        await herald.ready();
      });
    },
  };
}

/** Cuts the way to a server, and some time later lets it lead nowhere. */
function holding(
  what: string,
  target: Target,
  { cutMs, holdMs, excuse = false }: { cutMs: number; holdMs: number; excuse?: boolean },
): Fault {
  return {
    name: `cut and blackhole ${what}`,
    ...(excuse && { leavesUnknown: true }),
    inject: async (stage) => {
      const links = stage.herald.links(target);
      const acts = [
        ['cut', cutMs],
        ['hold', holdMs],
      ] as const;
      for (const [round, [act, ms]] of acts.entries()) {
        await stage.moment(round, acts.length);
        for (const link of links) link[act]();
        await wait(ms);
        if (excuse) await excuseAllOpen(stage);
        for (const link of links) link.open();
        await stage.herald.ready();
      }
    },
  };
}

/** So that much is published and not yet claimed. */
function slowly(seeded: Parameters<typeof takesAll>[0]) {
  return takesAll(seeded, [200, 300]);
}

/** What a killed worker had open. A report that was under way has arrived by then. */
async function excuseOpen(stage: Stage, worker: WorkerName): Promise<void> {
  await wait(500);
  stage.excuse(await stage.openHandovers(worker));
}

async function excuseAllOpen(stage: Stage): Promise<void> {
  const open = await until(async () => ({ attempts: await findOpenAttempts(stage.herald) }), { timeoutMs: 10_000 });
  stage.note(`${open.attempts.length} open`);
  stage.excuse(open.attempts);
}

/** What the frozen worker had in its hands: the other one's attempts of that time are closed by now. */
async function excuseStartedBefore(stage: Stage, since: unknown): Promise<void> {
  const attempts = await findOpenAttempts(stage.herald, since);
  stage.note(`${attempts.length} in its hands`);
  stage.excuse(attempts);
}

const now = async ({ herald }: Stage): Promise<unknown> =>
  (await herald.sql('SELECT clock_timestamp() AS now'))[0]?.['now'];

async function noteBacklog({ herald, note }: Stage): Promise<void> {
  const [row] = await herald.sql(PUBLISHED);
  note(`${row?.['count']} published and unclaimed`);
}

/** Acts at so many moments of the sending; less often when there is less to send. */
async function rounds(stage: Stage, most: number, act: (round: number) => Promise<void>): Promise<void> {
  const count = Math.max(1, Math.min(most, Math.floor(stage.count / 300)));
  for (let round = 0; round < count; round += 1) {
    await stage.moment(round, count);
    if (round > 0 && stage.sending.accepted.size === stage.count) return;
    await act(round);
  }
}

/** Leased, and no attempt of this lease. */
const CLAIMED = `
  SELECT count(*)::integer AS count FROM notification n
  WHERE status = 'pending' AND lease_until > now()
    AND NOT EXISTS (SELECT FROM attempt a WHERE a.notification_id = n.id AND a.token = n.token)`;
const PUBLISHED = `
  SELECT count(*)::integer AS count FROM notification n
  WHERE status = 'pending' AND lease_until IS NULL AND NOT EXISTS (SELECT FROM outbox o WHERE o.notification_id = n.id)`;
