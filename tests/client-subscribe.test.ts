import { GraphQLError } from 'graphql';
import type { WebSocket } from 'ws';
import { afterEach, expect, test } from 'vitest';
import { createClient, type Document, type SubscribeOptions } from '../client/client.ts';
import { watchLeaks } from './leaks.ts';
import { startLiveNumbers } from './live-numbers.ts';
import { freePort } from './private-process.ts';

type Numbers = Document<{ numbers: { cursor: string; number: number } }, { after?: string }>;
const NUMBERS: Numbers = 'subscription Numbers($after: String) { numbers(after: $after) { cursor number } }';
const WITHOUT_AFTER: Numbers = 'subscription { numbers { cursor number } }';
const ALL = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

let server: Awaited<ReturnType<typeof startLiveNumbers>> | undefined;
let checkLeaks: () => Promise<void>;
const given = async (options?: Parameters<typeof startLiveNumbers>[0]) => {
  checkLeaks = watchLeaks();
  server = await startLiveNumbers(options);
};
afterEach(async () => {
  await server?.stop();
  if (server) await checkLeaks();
  server = undefined;
});

/** Does something at number 4, the first time that this comes. */
function onceAtFour<Args extends unknown[]>(act: (...args: Args) => void): (number: number, ...args: Args) => void {
  let isDone = false;
  return (number, ...args) => {
    if (number !== 4 || isDone) return;
    isDone = true;
    act(...args);
  };
}

async function read({
  document = NUMBERS,
  after,
  apiKey = 'key',
  url = server?.url ?? '',
  ...options
}: SubscribeOptions & { document?: Numbers; after?: string; apiKey?: string; url?: string } = {}) {
  const numbers: number[] = [];
  const events = createClient({ url, apiKey }).subscribe(document, after === undefined ? {} : { after }, {
    backOff: { baseMs: 10 },
    ...options,
  });
  for await (const { numbers: event } of events) numbers.push(event.number);
  return numbers;
}

test('events come in order until the server has no more; the key goes with the connection', async () => {
  await given();
  expect(await read({ after: '#7' })).toEqual([8, 9, 10]);
  expect(server?.connections).toMatchObject([{ authorization: 'Bearer key' }]);
  expect(await server?.connections[0]?.closed).toBe(1000);
});

test.each([
  ['is cut', (socket: WebSocket) => socket.terminate()],
  ['is closed because the server goes away', (socket: WebSocket) => socket.close(1001)],
  ['is closed in peace', (socket: WebSocket) => socket.close(1000)],
  ['is closed because we read too slowly', (socket: WebSocket) => socket.close(4409, 'slow #4')],
  ['is closed because the token ran out', (socket: WebSocket) => socket.close(4403, 'expired')],
])('a connection that %s in the middle is made again, and no event is missing or comes twice', async (_, cut) => {
  const seen: unknown[] = [];
  await given({ onNumber: onceAtFour(cut) });
  const numbers = await read({
    onConnected: ({ isReconnected }) => seen.push({ isReconnected }),
    onDisconnected: ({ retryInMs }) => seen.push({ retryInMs }),
  });
  expect(numbers).toEqual(ALL);
  expect(seen).toEqual([{ isReconnected: false }, { retryInMs: expect.any(Number) }, { isReconnected: true }]);
});

test('one event that could not be completed comes again, from the cursor before it', async () => {
  const unavailable = () => {
    throw new GraphQLError('the user service is away', { extensions: { code: 'UNAVAILABLE' } });
  };
  await given({ onNumber: onceAtFour(unavailable) });
  expect(await read()).toEqual(ALL);
});

const refusing = (code: string, extensions: object = {}) => {
  throw new GraphQLError(`refused: ${code}`, { extensions: { code, ...extensions } });
};

test('an event of which a part is missing is given, with the errors beside it', async () => {
  await given({ squareOf: (number) => (number === 4 ? refusing('UNAVAILABLE') : number ** 2) });
  const document: Document<{ numbers: { number: number; square: number | null } }, { after?: string }> =
    'subscription ($after: String) { numbers(after: $after) { cursor number square } }';
  const incomplete: unknown[] = [];
  const squares: unknown[] = [];
  const client = createClient({ url: server?.url ?? '', apiKey: 'key' });
  const onIncomplete: SubscribeOptions['onIncomplete'] = (errors) => incomplete.push(...errors);
  for await (const { numbers } of client.subscribe(document, {}, { onIncomplete })) squares.push(numbers.square);
  expect(squares).toEqual(ALL.map((number) => (number === 4 ? null : number ** 2)));
  expect(incomplete).toMatchObject([{ code: 'UNAVAILABLE', path: ['numbers', 'square'] }]);
  expect(server?.connections).toHaveLength(1);
});

test.each(['UNAVAILABLE', 'TIMEOUT', 'RATE_LIMITED'])(
  'an answer without an event ends nothing when it is %s: it comes again, from the cursor before it',
  async (code) => {
    const refuseOnce = onceAtFour(() => refusing(code));
    await given({ squareOf: (number) => (refuseOnce(number), number) });
    const document = 'subscription ($after: String) { numbers(after: $after) { cursor number wholeSquare } }';
    expect(await read({ document })).toEqual(ALL);
    expect(server?.connections).toHaveLength(2);
  },
);

test('the next try is no sooner than Herald says', async () => {
  await given({ onNumber: onceAtFour(() => refusing('RATE_LIMITED', { retryAfterSeconds: 0.2 })) });
  const waits: number[] = [];
  expect(await read({ onDisconnected: ({ retryInMs }) => waits.push(retryInMs) })).toEqual(ALL);
  expect(waits).toEqual([expect.toSatisfy((ms: number) => ms >= 200 && ms <= 210)]);
});

test('a document without `after` begins anew', async () => {
  await given({ onNumber: onceAtFour((socket: WebSocket) => socket.terminate()) });
  expect((await read({ document: WITHOUT_AFTER })).slice(-ALL.length)).toEqual(ALL);
  expect(server?.connections).toHaveLength(2);
});

test('a refusal is thrown, with its code', async () => {
  await given();
  await expect(read({ after: 'too-old' })).rejects.toMatchObject({
    name: 'GraphQLRequestError',
    code: 'CURSOR_EXPIRED',
  });
});

test('a wrong credential is UNAUTHENTICATED, and not tried again', async () => {
  await given({ onConnect: (authorization) => authorization === 'Bearer right' });
  await expect(read({ apiKey: 'wrong' })).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(server?.connections).toHaveLength(1);
});

test('each connection asks for the token that is valid then', async () => {
  await given({ onNumber: onceAtFour((socket: WebSocket) => socket.close(4401)) });
  const tokens = ['first', 'second'];
  const client = createClient({ url: server?.url ?? '', getToken: async () => tokens.shift() ?? '' });
  const numbers: number[] = [];
  for await (const { numbers: event } of client.subscribe(NUMBERS, {}, { backOff: { baseMs: 10 } }))
    numbers.push(event.number);
  expect(numbers).toEqual(ALL);
  expect(server?.connections).toMatchObject([{ authorization: 'Bearer first' }, { authorization: 'Bearer second' }]);
});

test('with nobody there it gives up after the tries that it was allowed', async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  const losses: number[] = [];
  const reading = read({ url, maxRetries: 2, onDisconnected: ({ retryInMs }) => losses.push(retryInMs) });
  await expect(reading).rejects.toThrow(/can't be reached, after 2 retries/);
  expect(losses).toHaveLength(2);
});

test('leaving the loop closes the connection', async () => {
  await given();
  for await (const { numbers } of createClient({ url: server?.url ?? '' }).subscribe(NUMBERS, {}))
    if (numbers.number === 2) break;
  expect(await server?.connections[0]?.closed).toBe(1000);
});

test('a signal ends it without an error while it waits for an event', async () => {
  await given({ onNumber: (number) => (number === 4 ? new Promise(() => {}) : undefined) });
  const ended = new AbortController();
  const numbers: number[] = [];
  const events = createClient({ url: server?.url ?? '' }).subscribe(NUMBERS, {}, { signal: ended.signal });
  for await (const { numbers: event } of events) {
    numbers.push(event.number);
    if (event.number === 3) setImmediate(() => ended.abort());
  }
  expect(numbers).toEqual([1, 2, 3]);
  expect(await server?.connections[0]?.closed).toBe(1000);
});

test('a signal ends it without an error while it waits for the next try', async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  const ended = new AbortController();
  const onDisconnected = () => setImmediate(() => ended.abort());
  expect(await read({ url, onDisconnected, backOff: { baseMs: 60_000_000 }, signal: ended.signal })).toEqual([]);
});

test('`return` ends it while another waits for an event', async () => {
  await given({ onNumber: () => new Promise(() => {}) });
  const { promise: isConnected, resolve: onConnected } = Promise.withResolvers<unknown>();
  const events = createClient({ url: server?.url ?? '' }).subscribe(NUMBERS, {}, { onConnected });
  const next = events.next();
  await isConnected;
  await events.return?.();
  expect(await next).toEqual({ done: true, value: undefined });
});
