import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import * as operations from '../rest/generated/operations.ts';
import { startHerald, type Herald } from '../tests/faults/herald.ts';
import { prepare } from '../tests/faults/send.ts';
import { until } from '../tests/until.ts';

/**
 * `npm run bench:rest`: what a REST path costs over the GraphQL operation that it runs, as CPU of the gateway's process
 * (/proc/…/stat) for each request. Both ask for the same; they take turns, in rounds, so that what else the machine does meets both.
 */
const GOAL_MS = 0.3;
const REQUESTS = 1_500;
const ROUNDS = 6;
const AT_ONCE = 16;

async function bench(): Promise<void> {
  const herald = await startHerald((line) => console.log(line));
  const dispatcher = new Agent({ connections: AT_ONCE });
  try {
    // Only what is asked is to be seen, not what becomes of it.
    for (const worker of ['email-1', 'email-2', 'push-1'] as const) await herald.kill(worker);
    await herald.kill('gateway');
    herald.start('gateway', { LOG_LEVEL: 'warn', NODE_ENV: 'production' });
    await until(async () => (await fetch(`${herald.urlOf('gateway')}/ready`)).ok, { timeoutMs: 30_000 });
    const { users, template } = await prepare(herald);
    const user = users[0] ?? '';
    const ask = askerOf(herald, dispatcher);

    const first = await ask(...sendByRest(user, template));
    const id = (JSON.parse(first) as { notification_id: string }).notification_id;
    const excess = [
      await compare(herald, 'a send', {
        rest: () => ask(...sendByRest(user, template)),
        graphql: () => ask(...sendByGraphql(user, template)),
      }),
      await compare(herald, 'a read', {
        rest: () => ask('GET', `/api/v1/notifications/${id}`),
        graphql: () =>
          ask('POST', '/graphql', {
            query: operations.NotificationDocument.toString(),
            variables: { id, inspect: true },
          }),
      }),
    ];
    const worst = Math.max(...excess);
    console.log(
      `goal: a REST request costs at most ${GOAL_MS} ms CPU more: ${worst.toFixed(3)} ms, ${worst <= GOAL_MS ? 'reached' : 'MISSED'}`,
    );
  } finally {
    await dispatcher.close();
    await herald.stop();
  }
}

type Ask = (method: 'GET' | 'POST', path: string, body?: object) => Promise<string>;

const askerOf =
  (herald: Herald, dispatcher: Agent): Ask =>
  async (method, path, body) => {
    const response = await request(herald.urlOf('gateway') + path, {
      method,
      dispatcher,
      headers: { authorization: `Bearer ${herald.adminKey}`, ...(body && { 'content-type': 'application/json' }) },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.body.text();
    if (response.statusCode >= 300 || text.includes('"errors"')) throw new Error(`${response.statusCode} ${text}`);
    return text;
  };

const sendByRest = (user: string, template: string): Parameters<Ask> => [
  'POST',
  '/api/v1/notifications/',
  {
    notification_type: 'email',
    user_id: user,
    template_code: template,
    variables: { name: 'Ada' },
    request_id: randomUUID(),
  },
];

const sendByGraphql = (userId: string, templateCode: string): Parameters<Ask> => [
  'POST',
  '/graphql',
  {
    query: operations.SendNotificationDocument.toString(),
    variables: {
      input: {
        notificationType: 'EMAIL',
        userId,
        templateCode,
        variables: { name: 'Ada' },
        requestId: randomUUID(),
      },
    },
  },
];

/** @returns milliseconds of CPU that a request takes more over REST, by the medians of the rounds */
async function compare(
  herald: Herald,
  what: string,
  ways: Record<'rest' | 'graphql', () => Promise<string>>,
): Promise<number> {
  const taken = { rest: [] as number[], graphql: [] as number[] };
  // The first round warms up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const way of ['rest', 'graphql'] as const) {
      const since = await cpuMsOf(herald.pidOf('gateway'));
      let left = REQUESTS;
      const worker = async () => {
        while (left-- > 0) await ways[way]();
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      if (round > 0) taken[way].push(((await cpuMsOf(herald.pidOf('gateway'))) - since) / REQUESTS);
    }
  }
  const [rest, graphql] = [median(taken.rest), median(taken.graphql)];
  console.log(
    `${what}: ${rest.toFixed(3)} ms CPU over REST, ${graphql.toFixed(3)} ms over GraphQL (medians of ${ROUNDS} rounds of ${REQUESTS})`,
  );
  return rest - graphql;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

async function cpuMsOf(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  // Fields 14 and 15 of the line, in hundredths of a second.
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

await bench();
