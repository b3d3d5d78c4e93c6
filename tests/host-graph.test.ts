import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, type Document } from '../client/client.ts';
import {
  LogInDocument,
  SendNotificationDocument,
  UpdateUserDocument,
  UserDocument,
} from '../client/generated/operations.ts';
import { ADD_CUSTOMER, CUSTOMER } from '../examples/host-graph/queries.ts';
import { makeFolder, type PrivateFolder } from './private-folder.ts';
import { freePort } from './private-process.ts';
import { startProgram, type Program } from './program.ts';
import { until } from './until.ts';

const root = join(import.meta.dirname, '..');
const KEY = 'host-graph-admin-key';
const PASSWORD = 'correct horse';
const add: Document<{ addCustomer: { id: string; user: { id: string } } }, { name: string; email: string }> =
  ADD_CUSTOMER;
const customer: Document<{ customer: object | null }, { id: string }> = CUSTOMER;

let folder: PrivateFolder;
let url: string;
let hostUrl: string;
let host: Program;
let herald: Program;

/** The two commands of the README, as they stand there; only ports and the data folder are free ones. */
beforeAll(async () => {
  folder = await makeFolder('host-graph');
  const [hostPort, gatewayPort, ...others] = await Promise.all(Array.from({ length: 2 + OTHERS.length }, freePort));
  [url, hostUrl] = [`http://127.0.0.1:${gatewayPort}`, `http://127.0.0.1:${hostPort}`];
  const ports = Object.fromEntries(OTHERS.map((name, place) => [name, String(others[place])]));
  const env = {
    ...process.env,
    HOST: undefined,
    PATH: join(root, 'node_modules', '.bin') + delimiter + process.env['PATH'],
    ...ports,
    GATEWAY_PORT: String(gatewayPort),
    DATA_DIR: join(folder.path, 'herald'),
    HOST_GRAPH_PORT: String(hostPort),
    HERALD_URL: url,
  };
  const readme = await readFile(join(root, 'examples/host-graph/README.md'), 'utf8');
  const commands = [...readme.matchAll(/^```sh\n(.+)\n```$/gm)].map(([, command = '']) => command);
  expect(commands).toHaveLength(2);
  const start = (command = '') =>
    startProgram('/bin/sh', ['-c', command.replace(':4100', `:${hostPort}`)], { cwd: root, env });
  host = start(commands[0]);
  await host.says("the shop's subgraph is up");
  herald = start(commands[1]);
  await herald.says('Ctrl-C stops it', { timeoutMs: 90_000 });
}, 120_000);

afterAll(async () => {
  for (const program of [herald, host]) if (program?.hasEnded() === false) program.signal('SIGINT');
  await Promise.all([herald?.ended, host?.ended]);
  await folder?.remove();
});

const OTHERS = [
  'USER_PORT',
  'TEMPLATE_PORT',
  'NOTIFICATION_PORT',
  'EMAIL_WORKER_PORT',
  'PUSH_WORKER_PORT',
  'SMTP_PORT',
  'MAILBOX_PORT',
  'POSTGRES_PORT',
];

const as = (apiKey: string) => createClient({ url, apiKey });

async function givenCustomer(name: string) {
  const email = `${randomUUID()}@example.com`;
  const { addCustomer } = await as(KEY).request(add, { name, email });
  return { id: addCustomer.id, userId: addCustomer.user.id, email };
}

/** The template comes with `npm start`. */
async function givenSent(userId: string): Promise<void> {
  const variables = { name: 'Ada' };
  const input = {
    notificationType: 'EMAIL' as const,
    userId,
    templateCode: 'welcome',
    requestId: randomUUID(),
    variables,
  };
  await as(KEY).request(SendNotificationDocument, { input });
}

const notifications = (...statuses: unknown[]) => ({
  notifications: { edges: statuses.map((status) => ({ node: { status } })) },
});

test('one query tells what the shop and what Herald know of a customer', async () => {
  const { id, userId } = await givenCustomer('Ada');
  expect(await as(KEY).request(customer, { id })).toEqual({ customer: { name: 'Ada', user: notifications() } });
  await givenSent(userId);
  const isDelivered = async () => {
    const answer = await as(KEY).request(customer, { id });
    expect(answer).toMatchObject({ customer: { name: 'Ada', user: notifications(expect.any(String)) } });
    return isDeepStrictEqual(answer.customer, { name: 'Ada', user: notifications('DELIVERED') });
  };
  await until(isDelivered);
});

test('who asks is the same for both: a user sees themselves, and no other customer', async () => {
  const [ada, ben] = [await givenCustomer('Ada'), await givenCustomer('Ben')];
  await as(KEY).request(UpdateUserDocument, { id: ada.userId, input: { password: PASSWORD } });
  const { logIn } = await createClient({ url }).request(LogInDocument, { email: ada.email, password: PASSWORD });
  const user = as(logIn.accessToken);
  await Promise.all([givenSent(ada.userId), givenSent(ben.userId)]);
  expect(await user.request(customer, { id: ada.id })).toEqual({
    customer: { name: 'Ada', user: notifications(expect.any(String)) },
  });
  expect(await user.request(customer, { id: ben.id })).toEqual({ customer: null });
  await expect(user.request(add, { name: 'Eve', email: 'eve@example.com' })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
});

test("Herald's refusals reach whoever asked the shop", async () => {
  await expect(as(KEY).request(add, { name: 'Ada', email: 'nobody' })).rejects.toMatchObject({
    code: 'BAD_USER_INPUT',
  });
});

test("the shop's subgraph answers nobody but Herald's gateway", async () => {
  const body = JSON.stringify({ query: '{ customer(id: "1") { name } }' });
  const response = await fetch(`${hostUrl}/graphql`, { method: 'POST', body });
  expect(response.status).toBe(401);
});

test("with the shop away Herald's own graph is as before", async () => {
  const { id, userId } = await givenCustomer('Ada');
  host.signal('SIGINT');
  await host.ended;
  await expect(as(KEY).request(customer, { id })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(await as(KEY).request(UserDocument, { id: userId })).toMatchObject({ user: { id: userId } });
});
