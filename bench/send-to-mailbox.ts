import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Pool } from 'undici';
import type { EmbeddedConfig } from '../embedded/config.ts';
import { startEmbedded } from '../embedded/start.ts';
import { NO_TRACING } from '../platform/tracing.ts';
import { freePort } from '../tests/private-process.ts';

/**
 * `npm run bench:send-to-mailbox [-- count]`: how long a single mail takes from its send into the mailbox, with `npm start`'s
 * Herald in a process of its own and nothing else to do. Each send waits for the mail before it to arrive.
 *
 * The mailbox keeps a mail by renaming a file, after which it says 250. That rename is watched (inotify), which tells within some
 * 0.1 ms and costs Herald nothing; asking the mailbox over HTTP every millisecond would take a third of the process measured.
 */
const WARM_UP = 30;
const GOAL_MS = 50;
const LOST_MS = 10_000;

if (process.send) await herald();
else await bench(Number(process.argv[2] ?? 300));

async function bench(count: number): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'herald-bench-'));
  const since = performance.now();
  const child = fork(import.meta.filename, [dataDir]);
  try {
    const failed = once(child, 'exit').then(() => Promise.reject(new Error('Herald did not start')));
    const [started] = (await Promise.race([once(child, 'message'), failed])) as [Started];
    console.log(`started in ${(performance.now() - since).toFixed(0)} ms; ${count} mails, one after another`);
    const rows = await sendAll(started, join(dataDir, 'mailbox'), count);
    print(
      'accept',
      rows.map(({ sent, accepted }) => accepted - sent),
    );
    print(
      'accept → mailbox',
      rows.map(({ accepted, arrived }) => arrived - accepted),
    );
    const median = print(
      'send → mailbox',
      rows.map(({ sent, arrived }) => arrived - sent),
    );
    console.log(`goal: p50 of send → mailbox below ${GOAL_MS} ms: ${median < GOAL_MS ? 'reached' : 'MISSED'}`);
  } finally {
    const ended = once(child, 'exit');
    if (child.connected) child.disconnect();
    if (child.exitCode === null) await ended;
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function sendAll({ url, apiKey, userId, templateCode }: Started, mailbox: string, count: number): Promise<Row[]> {
  const pool = new Pool(url, { connections: 1 });
  let arrive = (_at: number) => {};
  const watcher = watch(mailbox, (_event, name) => {
    if (name?.endsWith('.eml')) arrive(performance.now());
  });
  const sendOne = async (): Promise<Row> => {
    const arrival = new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`a mail did not arrive within ${LOST_MS} ms`)), LOST_MS);
      arrive = (at) => {
        clearTimeout(timer);
        resolve(at);
      };
    });
    const body = JSON.stringify({
      notification_type: 'email',
      user_id: userId,
      template_code: templateCode,
      variables: { name: 'Ada' },
      request_id: randomUUID(),
    });
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` };
    const sent = performance.now();
    const answer = await pool.request({ method: 'POST', path: '/api/v1/notifications/', headers, body });
    const text = await answer.body.text();
    const accepted = performance.now();
    if (answer.statusCode !== 202) throw new Error(`not accepted: ${answer.statusCode} ${text}`);
    return { sent, accepted, arrived: await arrival };
  };
  try {
    const rows: Row[] = [];
    for (let sends = 0; sends < WARM_UP + count; sends += 1) rows.push(await sendOne());
    return rows.slice(WARM_UP);
  } finally {
    watcher.close();
    await pool.close();
  }
}

/** @returns the median */
function print(name: string, times: number[]): number {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
  const values = [50, 95, 99].map(
    (percent) =>
      `p${percent} ${at(percent / 100)
        .toFixed(1)
        .padStart(6)}`,
  );
  console.log(`${name.padEnd(17)} ${values.join('   ')} ms`);
  return at(0.5);
}

/** The other process: Herald, until the first one lets go of it. */
async function herald(): Promise<void> {
  const dataDir = process.argv[2];
  if (dataDir === undefined) throw new Error('the data folder is missing');
  const { stop, url, adminApiKey, demo } = await startEmbedded(await createConfig(dataDir), {
    progress: (_name, work) => work,
    log: () => {},
    createLog: () => pino({ level: 'warn' }),
  });
  process.once('disconnect', () => void stop().then(() => process.exit(0)));
  process.send?.({ url, apiKey: adminApiKey, ...demo } satisfies Started);
}

async function createConfig(dataDir: string): Promise<EmbeddedConfig> {
  return {
    host: '127.0.0.1',
    ports: {
      GATEWAY_PORT: await freePort(),
      USER_PORT: await freePort(),
      TEMPLATE_PORT: await freePort(),
      NOTIFICATION_PORT: await freePort(),
      EMAIL_WORKER_PORT: await freePort(),
      PUSH_WORKER_PORT: await freePort(),
      SMTP_PORT: await freePort(),
      MAILBOX_PORT: await freePort(),
      POSTGRES_PORT: await freePort(),
    },
    dataDir,
    adminApiKey: undefined,
    publicUrl: undefined,
    supergraph: { path: null, extraSubgraphs: {} },
    webhookKeys: { sendgrid: null, mailgun: null, onesignal: null, bounces: null },
    leaseSeconds: 60,
    retryBaseSeconds: 60,
    tracing: NO_TRACING,
    logLevel: 'warn',
  };
}

type Started = { url: string; apiKey: string; userId: string; templateCode: string };
/** Moments of one clock, in ms. */
type Row = { sent: number; accepted: number; arrived: number };
