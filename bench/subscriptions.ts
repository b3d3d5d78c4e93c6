import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { buildSchema, execute, subscribe } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocket, WebSocketServer } from 'ws';
import { feedMessageSchema, type StatusEvent } from '../contracts/events.ts';
import { toTopology, topologyNames } from '../contracts/topology.ts';
import { createRabbitmqBroker } from '../platform/broker/rabbitmq.ts';
import { createLogger } from '../platform/logger.ts';
import { startHerald, type Herald } from '../tests/faults/herald.ts';
import { prepare } from '../tests/faults/send.ts';
import { until } from '../tests/until.ts';

/**
 * `npm run bench:subscriptions`: what live status costs, with the gateway, its clients and all the rest in processes of their own, on
 * a private PostgreSQL, RabbitMQ and Redis. Beside it plain graphql-ws, the reference server, doing the same fan-out: it hears of the
 * same events over the same RabbitMQ, filters by user, and executes the selection for each subscriber.
 *
 * CPU is the server process's own (/proc/…/stat) and what it takes for one message to one subscriber; memory the growth of its
 * resident set by idle subscribers, without a forced garbage collection. Latency is from the status change's commit (its `at`, in whole
 * milliseconds) to the client.
 */
const GOALS = { kibPerSubscriber: 35, p99Ms: 100, cpuRatio: 1.5 };
/** Subscribers of one selection, and how many events they all get, a batch each half a second. */
const FAN_OUT = [
  { subscribers: 1_000, events: 200, batch: 10 },
  { subscribers: 10_000, events: 30, batch: 1 },
];
const OWN = { subscribers: 1_000, perSecond: 200, seconds: 10 };
const SELECTION = 'cursor status previousStatus reason attempt at notification { id requestId }';

async function bench(): Promise<void> {
  const herald = await startHerald((line) => console.log(line));
  try {
    // Only what is sent is to be seen, not what becomes of it.
    for (const worker of ['email-1', 'email-2', 'push-1'] as const) await herald.kill(worker);
    await herald.kill('gateway');
    herald.start('gateway', { CONNECTIONS_MAX: '20000', LOG_LEVEL: 'warn', NODE_ENV: 'production' });
    await until(() => isUp(herald.urlOf('gateway')), { timeoutMs: 30_000 });
    const { users, template } = await prepare(herald);
    const [user] = users;
    const ours = { name: 'Herald', pid: herald.pidOf('gateway'), url: herald.urlOf('gateway'), key: herald.adminKey };

    console.log('\nsubscribers that share a selection: each gets every event');
    const ratios: number[] = [];
    let kib = 0;
    for (const load of FAN_OUT) {
      const query = `subscription { notificationStatusChanged(userId: "${user}") { ${SELECTION} } }`;
      const send = (count: number) =>
        sendMany(
          herald,
          Array.from({ length: count }, () => ({ user, template, requestId: randomUUID() })),
        );
      const mine = await fanOut(ours, query, load, send);
      const server = fork(import.meta.filename, ['plain', herald.rabbitmq.url]);
      const [port] = (await once(server, 'message')) as [number];
      const plain = { name: 'graphql-ws', pid: server.pid ?? 0, url: `http://127.0.0.1:${port}`, key: 'any' };
      const theirs = await fanOut(plain, query, load, send);
      server.kill();
      ratios.push(mine.cpuUs / theirs.cpuUs);
      kib = Math.max(kib, mine.kib);
    }

    console.log(`\n${OWN.subscribers} subscribers, each of a request and with a selection of its own`);
    const p99 = await ownSelections(herald, ours, { user, template });

    console.log('');
    tell('memory for each idle subscriber', kib, GOALS.kibPerSubscriber, 'KiB');
    tell('CPU at a shared selection, the worse of both', Math.max(...ratios), GOALS.cpuRatio, '× that of graphql-ws');
    tell(`p99 at ${OWN.perSecond} status changes a second`, p99, GOALS.p99Ms, 'ms');
  } finally {
    await herald.stop();
  }
}

type Server = { name: string; pid: number; url: string; key: string };

async function fanOut(
  { name, pid, url, key }: Server,
  query: string,
  { subscribers, events, batch }: (typeof FAN_OUT)[number],
  send: (count: number) => Promise<void>,
): Promise<{ cpuUs: number; kib: number }> {
  const crowd = startCrowd();
  try {
    const before = await kibOf(pid);
    await crowd.open(
      url,
      key,
      Array.from({ length: subscribers }, () => query),
    );
    const kib = ((await kibOf(pid)) - before) / subscribers;
    // Once to be warm.
    await send(batch);
    await crowd.received(batch * subscribers);
    const cpu = await cpuUsOf(pid);
    for (let sent = 0; sent < events; sent += batch) {
      await send(batch);
      await wait(500);
    }
    const latencies = await crowd.received(events * subscribers);
    const cpuUs = ((await cpuUsOf(pid)) - cpu) / (events * subscribers);
    console.log(
      `  ${name.padEnd(10)} ${String(subscribers).padStart(6)} subscribers, ${kib.toFixed(1)} KiB each while idle; ` +
        `${cpuUs.toFixed(1)} µs CPU for each event and subscriber; p50 ${at(latencies, 0.5)} ms, p99 ${at(latencies, 0.99)} ms`,
    );
    return { cpuUs, kib };
  } finally {
    crowd.stop();
  }
}

async function ownSelections(
  herald: Herald,
  { pid, url, key }: Server,
  { user, template }: { user: string; template: string },
): Promise<number> {
  const requestIds = Array.from({ length: OWN.subscribers }, () => randomUUID());
  const crowd = startCrowd();
  try {
    const before = await kibOf(pid);
    await crowd.open(
      url,
      key,
      requestIds.map(
        (id, index) =>
          `subscription { notificationStatusChanged(requestId: "${id}") { own${index}: status ${SELECTION} } }`,
      ),
    );
    const kib = ((await kibOf(pid)) - before) / OWN.subscribers;
    const cpu = await cpuUsOf(pid);
    // Half of the changes are of others, as always.
    const total = OWN.perSecond * OWN.seconds;
    const batch = OWN.perSecond / 20;
    for (let sent = 0; sent < total; sent += batch) {
      const since = performance.now();
      const sends = Array.from({ length: batch }, (_, index) => ({
        user,
        template,
        requestId: index % 2 === 0 ? (requestIds[(sent + index) / 2] ?? randomUUID()) : randomUUID(),
      }));
      await sendMany(herald, sends);
      await wait(Math.max(0, 50 - (performance.now() - since)));
    }
    const latencies = await crowd.received(OWN.subscribers);
    const cpuUs = ((await cpuUsOf(pid)) - cpu) / total;
    console.log(
      `  Herald     ${kib.toFixed(1)} KiB each, with its plan; ${cpuUs.toFixed(0)} µs CPU for each change, its REST send included; ` +
        `p50 ${at(latencies, 0.5)} ms, p99 ${at(latencies, 0.99)} ms`,
    );
    return at(latencies, 0.99);
  } finally {
    crowd.stop();
  }
}

async function sendMany(herald: Herald, sends: { user: string; template: string; requestId: string }[]): Promise<void> {
  const response = await fetch(`${herald.urlOf('gateway')}/api/v1/notifications/`, {
    method: 'POST',
    headers: { authorization: `Bearer ${herald.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(
      sends.map(({ user, template, requestId }) => ({
        notification_type: 'email',
        user_id: user,
        template_code: template,
        variables: { name: 'Ada' },
        request_id: requestId,
      })),
    ),
  });
  const text = await response.text();
  if (response.status !== 202) throw new Error(`a send was answered ${response.status} ${text.slice(0, 300)}`);
}

/** All subscribers, in a process of their own. */
function startCrowd() {
  const child = fork(import.meta.filename, ['clients']);
  const failed = once(child, 'exit').then(() => Promise.reject(new Error('the clients ended')));
  failed.catch(() => {});
  const ask = async <T>(message: object): Promise<T> => {
    child.send(message);
    return ((await Promise.race([once(child, 'message'), failed])) as [T])[0];
  };
  return {
    async open(url: string, key: string, queries: string[]) {
      await ask({ kind: 'open', url, key, queries });
      // Nothing says that a subscription has begun.
      await wait(2_000);
    },
    /** Waits for so many more messages. @returns how long each took, milliseconds, in order */
    received: (count: number) => ask<number[]>({ kind: 'await', count }),
    stop: () => void child.kill(),
  };
}

type Asked = { kind: 'open'; url: string; key: string; queries: string[] } | { kind: 'await'; count: number };

function clients(): void {
  let latencies: number[] = [];
  const connect = (url: string, key: string, query: string) =>
    new Promise<void>((resolve, reject) => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
        perMessageDeflate: false,
      });
      socket.on('error', reject);
      socket.on('close', (code, reason) => reject(new Error(`closed with ${code} ${reason.toString()}`)));
      socket.on('open', () =>
        socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })),
      );
      socket.on('message', (data: Buffer) => {
        const text = data.toString();
        if (text.includes('"connection_ack"')) {
          socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
          return resolve();
        }
        const changedAt = /"at":"([^"]+)"/.exec(text)?.[1];
        if (changedAt === undefined) throw new Error(text);
        return void latencies.push(Date.now() - Date.parse(changedAt));
      });
    });
  process.on('disconnect', () => process.exit(0));
  process.on('message', (asked: Asked) => {
    void (async () => {
      if (asked.kind === 'open') {
        for (let first = 0; first < asked.queries.length; first += 100)
          await Promise.all(
            asked.queries.slice(first, first + 100).map((query) => connect(asked.url, asked.key, query)),
          );
        return process.send?.('open');
      }
      await until(() => latencies.length >= asked.count, { timeoutMs: 120_000, everyMs: 5 });
      const sorted = latencies.toSorted((a, b) => a - b);
      latencies = [];
      return process.send?.(sorted);
    })();
  });
}

/** graphql-ws with its own server and graphql-js's `subscribe`, over the same feed. */
async function plain(amqpUrl: string): Promise<void> {
  const names = topologyNames('faults.');
  const log = createLogger('plain', 'warn');
  const broker = createRabbitmqBroker(amqpUrl, { topology: toTopology(names), queueType: 'classic', log });
  const listeners = new Set<(event: StatusEvent) => void>();
  broker.listen({ exchange: names.events, pattern: '#', maxLength: 10_000, onGap: () => {} }, ({ body }) => {
    for (const event of feedMessageSchema.parse(JSON.parse(body.toString())).events)
      for (const listener of listeners) listener(event);
  });
  const schema = buildSchema(`
    type Query { ok: Boolean }
    type Subscription { notificationStatusChanged(userId: ID): NotificationStatusEvent! }
    type NotificationStatusEvent {
      cursor: String! status: String! previousStatus: String reason: String attempt: Int! at: String! notification: Notification!
    }
    type Notification { id: ID! requestId: String! }`);
  const field = schema.getSubscriptionType()?.getFields()['notificationStatusChanged'];
  if (field === undefined) throw new Error('no such field');
  field.subscribe = (_root: unknown, { userId }: { userId: string }) =>
    eventsOf(listeners, (event) => event.userId === userId);
  field.resolve = (event: StatusEvent) => ({
    ...event,
    cursor: String(event.seq),
    status: event.status.toUpperCase(),
    notification: { id: event.notificationId, requestId: event.requestId },
  });
  const http = createServer();
  useServer(
    { schema, execute, subscribe, onConnect: ({ connectionParams }) => connectionParams !== undefined },
    new WebSocketServer({ server: http, path: '/graphql', perMessageDeflate: false }),
  );
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  process.on('disconnect', () => process.exit(0));
  process.send?.((http.address() as { port: number }).port);
}

/** As tutorials do it: a queue, and a promise for whoever waits. */
function eventsOf(
  listeners: Set<(event: StatusEvent) => void>,
  filter: (event: StatusEvent) => boolean,
): AsyncGenerator<StatusEvent> {
  const queue: StatusEvent[] = [];
  let wake: (() => void) | null = null;
  const listener = (event: StatusEvent) => {
    if (!filter(event)) return;
    queue.push(event);
    wake?.();
  };
  listeners.add(listener);
  const end = async () => {
    listeners.delete(listener);
    wake?.();
    return { done: true as const, value: undefined };
  };
  const generator: AsyncGenerator<StatusEvent> = {
    async next() {
      while (queue.length === 0) {
        if (!listeners.has(listener)) return end();
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return { done: false, value: queue.shift() as StatusEvent };
    },
    return: end,
    throw: end,
    [Symbol.asyncIterator]: () => generator,
    [Symbol.asyncDispose]: async () => void (await end()),
  };
  return generator;
}

async function cpuUsOf(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  // Fields 14 and 15 of the line, in hundredths of a second.
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

async function kibOf(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

const isUp = async (url: string) => (await fetch(`${url}/ready`)).ok;

const at = (sorted: number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;

function tell(what: string, value: number, goal: number, unit: string): void {
  console.log(`goal: ${what} at most ${goal} ${unit}: ${value.toFixed(2)}, ${value <= goal ? 'reached' : 'MISSED'}`);
}

const [role, ...args] = process.argv.slice(2);
if (role === 'plain') await plain(args[0] ?? '');
else if (role === 'clients') clients();
else await bench();
