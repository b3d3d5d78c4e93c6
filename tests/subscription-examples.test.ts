import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { askAs } from './as-viewer.ts';
import { SendNotificationDocument } from '../client/generated/operations.ts';
import { ADMIN } from '../contracts/scopes.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

/** The programs of docs/subscriptions.md, run as they stand there but for the address, the key and the user. */

const DOCS = await readFile(new URL('../docs/subscriptions.md', import.meta.url), 'utf8');
const EXAMPLES = [...DOCS.matchAll(/```ts\n\/\/ (.+)\n([^]*?)```/g)].map(
  ([, name, code]) => [name ?? '', code ?? ''] as const,
);
/** That of the browser, with what its page has around it. */
const [, IN_A_PAGE = ''] = /```js\n([^]*?EventSource[^]*?)```/.exec(DOCS) ?? [];
const ROOT = new URL('..', import.meta.url);

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  [user, template] = [await givenUser(herald), await givenTemplate(herald)];
});
afterAll(() => herald?.stop());

/** As the gateway would ask the notification service. */
async function sendBehindTheGateway(): Promise<string> {
  const input = {
    notificationType: 'EMAIL',
    userId: user,
    templateCode: template,
    variables: { name: 'Ada' },
    requestId: randomUUID(),
  } as const;
  const { data, errors } = await askAs(herald, ADMIN, SendNotificationDocument, { input });
  if (!data) throw new Error(JSON.stringify(errors));
  return data.sendNotification.notification.id;
}

const inTests = (code: string) =>
  code
    .replaceAll('http://127.0.0.1:8000', herald.url)
    .replaceAll('ws://127.0.0.1:8000', herald.url.replace('http', 'ws'))
    .replaceAll('hk_…', herald.adminApiKey)
    .replaceAll('<user>', user)
    .replaceAll("'@herald/client'", "'./client/client.ts'")
    .replaceAll("'@herald/client/operations'", "'./client/generated/operations.ts'");

const ofAPage = (id: string) => `
  const id = '${id}';
  async function tokenFromYourServer() {
    const query = \`mutation { createStreamToken(notificationId: "\${id}") { token } }\`;
    const headers = { 'content-type': 'application/json', authorization: 'Bearer hk_…' };
    const asked = { method: 'POST', headers, body: JSON.stringify({ query }) };
    const answer = await fetch('http://127.0.0.1:8000/graphql', asked);
    return (await answer.json()).data.createStreamToken.token;
  }
  const show = ({ notification_id, status }) => console.log(last, notification_id, status.toUpperCase());
  ${IN_A_PAGE}
  // A page does not end while it waits.
  setInterval(() => {}, 1_000);
  await watch();`;

function run(code: string) {
  const options = ['--experimental-eventsource', '--input-type=module-typescript'];
  const program = spawn(process.execPath, options, { cwd: ROOT });
  program.stdin.end(inTests(code));
  let told = '';
  let complaints = '';
  program.stdout.on('data', (chunk: Buffer) => (told += String(chunk)));
  program.stderr.on('data', (chunk: Buffer) => (complaints += String(chunk)));
  const ended = once(program, 'exit');
  return {
    /** What was told of notifications, each as `<id> <status>`. */
    told: () => [...told.matchAll(/^\S+ ([\w-]{36} \w+)$/gm)].map(([, event]) => event),
    complaints: () => complaints,
    hasEnded: () => program.exitCode !== null,
    stop: () => {
      program.kill();
      return ended;
    },
  };
}

test('there is one for each client', () =>
  expect(EXAMPLES.map(([name]) => name)).toEqual([
    '@herald/client',
    'graphql-ws',
    'Apollo Client',
    'urql',
    'graphql-sse',
  ]));

test('each sees what happens, and after a restart of the gateway what it has missed, once', async () => {
  const programs = EXAMPLES.map(([name, code]) => ({ name, ...run(code) }));
  try {
    const first = async () => {
      await givenSent(herald, user, template);
      for (const program of programs)
        expect(program.hasEnded(), `${program.name}: ${program.complaints()}`).toBe(false);
      return programs.every((program) => program.told().length > 0);
    };
    await until(first, { timeoutMs: 20_000, everyMs: 200 });
    await herald.stopPart('gateway');
    const missed = await Promise.all([1, 2, 3].map(sendBehindTheGateway));
    await herald.startPart('gateway');
    for (const program of programs) {
      await until(() => missed.every((id) => program.told().includes(`${id} PENDING`)), { timeoutMs: 40_000 }).catch(
        (cause: unknown) => {
          throw new Error(`${program.name}: ${program.complaints()}`, { cause });
        },
      );
      expect(new Set(program.told()).size, program.name).toBe(program.told().length);
    }
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
  }
}, 90_000);

test('each begins anew where its cursor is from before a restore', async () => {
  const watched = await givenSent(herald, user, template);
  const programs = [
    ...EXAMPLES.filter(([name]) => name !== '@herald/client').map(([name, code]) => ({ name, ...run(code) })),
    { name: 'EventSource', ...run(ofAPage(watched)) },
  ];
  const seen = async (isSeen: (program: (typeof programs)[number]) => boolean) => {
    for (const program of programs)
      await until(
        async () => {
          await givenSent(herald, user, template);
          return isSeen(program);
        },
        { timeoutMs: 40_000, everyMs: 200 },
      ).catch((cause: unknown) => {
        throw new Error(`${program.name}: ${program.complaints()}`, { cause });
      });
  };
  try {
    await seen((program) => program.told().length > 0);
    await herald.stopPart('gateway');
    await herald.sql('notification', 'UPDATE feed_state SET epoch = gen_random_uuid()');
    const known = new Map(programs.map((program) => [program.name, program.told().length]));
    await herald.startPart('gateway');
    await seen((program) => program.told().length > (known.get(program.name) ?? 0));
    expect(programs.at(-1)?.told()).toEqual([`${watched} PENDING`, `${watched} PENDING`]);
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
  }
}, 120_000);
