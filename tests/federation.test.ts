import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { composeServices } from '@apollo/composition';
import { parse } from 'graphql';
import { afterEach, describe, expect, test } from 'vitest';
import { ADMIN } from '../contracts/scopes.ts';
import { createVerifier, signRequest, type SignedContext } from '../platform/trust.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { makeFolder } from './private-folder.ts';
import { startHerald, type Herald, type HeraldOptions } from './start.ts';
import { until } from './until.ts';

const parts = ['user', 'template', 'notification', 'gateway'] as const;
const EVERYTHING = `query ($id: ID!) { notification(id: $id) { status user { name } template { defaultLocale } } }`;
const USER_SCHEMA = readFileSync(new URL('../subgraphs/user/schema.graphql', import.meta.url), 'utf8');
const GREETING = 'Hello';
const CONTENT = { subject: GREETING, html: GREETING, text: null };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: HeraldOptions = {}): Promise<Herald> {
  const herald = await startHerald({ broker: 'embedded', parts, ...options });
  cleanups.push(() => herald.stop());
  return herald;
}

const ask = async (herald: Herald, query: string, variables: object = {}, headers: Record<string, string> = {}) => {
  const since = performance.now();
  const { status, body } = await herald.rest('POST', '/graphql', { query, variables }, headers);
  return { status, tookMs: performance.now() - since, ...(body as Answer) };
};
type Answer = {
  data?: Record<string, unknown> | null;
  errors?: { message: string; path?: string[]; extensions: Record<string, unknown> }[];
};

/** Stands where a subgraph stood: real HTTP, and whatever the story wants it to answer. */
async function standIn(
  herald: Herald,
  part: 'user' | 'template' | 'notification',
  answer: (response: ServerResponse, request: IncomingMessage, body: string) => void,
) {
  const { port } = new URL(herald.urlOf(part));
  const verify = createVerifier(part, herald.secrets[part]);
  const asked: { body: string; headers: IncomingMessage['headers']; context: SignedContext }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const context = verify({ method: 'POST', path: '/graphql', body }, request.headers);
      if (typeof context === 'string') throw new Error(context);
      asked.push({ body: body.toString(), headers: request.headers, context });
      answer(response, request, body.toString());
    });
  });
  server.listen(Number(port), '127.0.0.1');
  await once(server, 'listening');
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  cleanups.push(stop);
  return { asked, stop };
}

const hang = () => {};
const answerJson = (value: unknown) => (response: ServerResponse) => {
  response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
};

test('the gateway starts with every subgraph down, says which is away, and takes them as they come', async () => {
  const herald = await start({ parts: ['gateway'] });
  expect(await ask(herald, '{ __typename }')).toMatchObject({ data: { __typename: 'Query' } });
  const { data, errors } = await ask(herald, '{ users { edges { node { id } } } providers { name } }');
  expect(data).toBeNull();
  const away = {
    message: 'a service that this needs is away',
    extensions: { code: 'UNAVAILABLE', retryAfterSeconds: 2, requestId: expect.any(String) },
  };
  expect(errors).toEqual(expect.arrayContaining([expect.objectContaining(away)]));
  await herald.startPart('user');
  expect(await ask(herald, '{ users { edges { node { id } } } }')).toMatchObject({ data: { users: { edges: [] } } });
});

describe.each(['user', 'template'] as const)('without the %s service the rest is answered', (part) => {
  const field = part;
  const partial = {
    status: 'PENDING',
    user: { name: 'Ada Lovelace' },
    template: { defaultLocale: 'en' },
    [field]: null,
  };

  async function given(options: HeraldOptions = {}) {
    const herald = await start(options);
    const id = await givenSent(herald, await givenUser(herald), await givenTemplate(herald));
    await herald.stopPart(part);
    return { herald, id };
  }

  test('while it is stopped', async () => {
    const { herald, id } = await given();
    const { status, data, errors } = await ask(herald, EVERYTHING, { id });
    expect({ status, data }).toEqual({ status: 200, data: { notification: partial } });
    expect(errors).toEqual([
      {
        message: 'a service that this needs is away',
        path: ['notification', field],
        extensions: { code: 'UNAVAILABLE', retryAfterSeconds: 2, requestId: expect.any(String) },
      },
    ]);
  });

  test('while it hangs, within the time of the request', async () => {
    const { herald, id } = await given({ requestTimeoutMs: 700 });
    const service = await standIn(herald, part, hang);
    const { data, errors, tookMs } = await ask(herald, EVERYTHING, { id });
    expect(data).toEqual({ notification: partial });
    expect(errors).toMatchObject([
      {
        message: 'a service that this needs did not answer in time',
        path: ['notification', field],
        extensions: { code: 'TIMEOUT' },
      },
    ]);
    expect(tookMs).toBeLessThan(1_500);
    expect(service.asked).toHaveLength(1);
    // What the first hop used up is not given to the second.
    expect(service.asked[0]?.context.timeoutMs).toBeLessThan(700);
  });

  test.each<[string, (response: ServerResponse, request: IncomingMessage) => void]>([
    ['HTML', (response) => void response.end('<html>')],
    ['a 502', (response) => void response.writeHead(502).end('bad gateway')],
    ['neither data nor errors', answerJson({})],
    ['nothing, and cuts the connection', (_, request) => void request.socket.destroy()],
  ])('while it answers %s', async (_, answer) => {
    const { herald, id } = await given();
    const service = await standIn(herald, part, answer);
    const { data, errors } = await ask(herald, EVERYTHING, { id });
    expect(data).toEqual({ notification: partial });
    expect(errors).toMatchObject([
      { message: 'a service that this needs is away', extensions: { code: 'UNAVAILABLE' } },
    ]);
    expect(JSON.stringify(errors)).not.toMatch(/127\.0\.0\.1|html|502|ECONN/i);
    expect(service.asked, 'a question is asked twice').toHaveLength(2);
  });
});

describe('a connection that is lost', () => {
  test('costs a question a second try, which is answered', async () => {
    const herald = await start();
    const id = await givenSent(herald, await givenUser(herald), await givenTemplate(herald));
    await herald.stopPart('user');
    let times = 0;
    await standIn(herald, 'user', (response, request) => {
      if ((times += 1) === 1) request.socket.destroy();
      else answerJson({ data: { _entities: [{ name: GREETING }] } })(response);
    });
    const { data, errors } = await ask(herald, EVERYTHING, { id });
    expect(errors).toBeUndefined();
    expect(data).toMatchObject({ notification: { user: { name: GREETING } } });
    expect(times).toBe(2);
  });

  test('ends a mutation, which may have been done: it is not sent twice', async () => {
    const herald = await start();
    await herald.stopPart('user');
    const service = await standIn(herald, 'user', (_, request) => void request.socket.destroy());
    const remove = `mutation { deleteUser(id: "${randomUUID()}") }`;
    const { errors } = await ask(herald, remove);
    expect(errors).toMatchObject([{ extensions: { code: 'UNAVAILABLE' } }]);
    expect(errors?.[0]?.message).toMatch(/it may have been done/);
    expect(service.asked).toHaveLength(1);
  });

  test('before it came about lets a mutation be tried again', async () => {
    const herald = await start();
    await herald.stopPart('user');
    const answered = ask(herald, `mutation { deleteUser(id: "${randomUUID()}") }`);
    const service = await standIn(herald, 'user', answerJson({ data: { deleteUser: true } }));
    const { data, errors } = await answered;
    if (service.asked.length === 1) expect(data).toEqual({ deleteUser: true });
    else expect(errors).toMatchObject([{ message: 'a service that this needs is away' }]);
  });
});

test('a mutation that is not answered in time may have been done, and the caller is told so', async () => {
  const herald = await start({ requestTimeoutMs: 500 });
  await herald.stopPart('user');
  const service = await standIn(herald, 'user', hang);
  const { errors } = await ask(herald, `mutation { deleteUser(id: "${randomUUID()}") }`);
  expect(errors).toMatchObject([{ extensions: { code: 'TIMEOUT', retryAfterSeconds: 2 } }]);
  expect(errors?.[0]?.message).toMatch(/did not answer in time; it may have been done/);
  expect(service.asked).toHaveLength(1);
  const { status, body } = await herald.rest('GET', `/api/v1/notifications/${randomUUID()}`);
  expect({ status, code: body.type }).toEqual({ status: 404, code: 'urn:herald:problem:not-found' });
});

test('a send that has little time left does not spoil the first one from a template for those that have more', async () => {
  const herald = await start({ parts: ['user', 'template', 'notification'] });
  const user = await givenUser(herald);
  const code = `story/${randomUUID()}`;
  await herald.stopPart('template');
  const version = { number: 1, declaredVariables: [], contents: [{ locale: 'en', email: CONTENT, push: null }] };
  const settings = { defaultLocale: 'en', sensitive: false, unsubscribable: false, currentVersion: { number: 1 } };
  const service = await standIn(herald, 'template', (response, _, body) => {
    if (body.includes('currentVersion')) answerJson({ data: { _entities: [settings, settings] } })(response);
    else setTimeout(answerJson({ data: { _entities: [{ version }] } }), 600, response);
  });
  const send = async (timeoutMs: number) => {
    const input = { notificationType: 'EMAIL', userId: user, templateCode: code, requestId: randomUUID() };
    const query = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }';
    const body = JSON.stringify({ query, variables: { input } });
    const context = { viewer: ADMIN, requestId: 'story', timeoutMs };
    const request = { method: 'POST', path: '/graphql', body };
    const headers = signRequest(
      request,
      context,
      { caller: 'gateway', callee: 'notification' },
      herald.secrets.notification,
    );
    return (await herald.rest('POST', `${herald.urlOf('notification')}/graphql`, body, headers)).body as Answer;
  };
  const [hurried, patient] = await Promise.all([send(300), send(5_000)]);
  expect(patient.data).toEqual({ sendNotification: { duplicate: false } });
  expect(hurried.errors).toMatchObject([{ extensions: { code: 'TIMEOUT' } }]);
  expect(service.asked.filter(({ body }) => !body.includes('currentVersion'))).toHaveLength(1);
});

test('a subgraph that fails time after time is given a rest, and asked again when it is back', async () => {
  const herald = await start();
  await herald.stopPart('template');
  const metric = async () =>
    /herald_subgraph_circuit_open\{subgraph="template",service="gateway"\} (\S+)/.exec(
      (await herald.rest('GET', '/metrics')).body as string,
    )?.[1];
  expect(await metric()).toBe('0');
  const service = await standIn(herald, 'template', (_, request) => void request.socket.destroy());
  const read = () => ask(herald, '{ template(code: "none") { defaultLocale } }');
  for (let time = 0; time < 8; time += 1) await read();
  const asked = service.asked.length;
  expect(asked).toBeLessThan(16);
  expect(await metric()).toBe('1');
  const refused = await read();
  expect(refused.errors).toMatchObject([
    { message: 'a service that this needs is away', extensions: { code: 'UNAVAILABLE' } },
  ]);
  expect(service.asked).toHaveLength(asked);
  // Others are not concerned.
  expect((await ask(herald, '{ users { edges { node { id } } } }')).errors).toBeUndefined();
  await service.stop();
  await herald.startPart('template');
  await until(async () => (await read()).errors === undefined, { timeoutMs: 5_000, everyMs: 100 });
  expect(await metric()).toBe('0');
});

test('what is too much for a subgraph to be asked at once is said so, not repeated, and keeps nobody else from it', async () => {
  const herald = await start();
  const id = await givenSent(herald, await givenUser(herald), await givenTemplate(herald));
  await herald.stopPart('template');
  const tooLarge = (response: ServerResponse) => void response.writeHead(413).end(JSON.stringify({ status: 413 }));
  const service = await standIn(herald, 'template', tooLarge);
  for (let time = 0; time < 12; time += 1)
    expect((await ask(herald, EVERYTHING, { id })).errors).toMatchObject([
      {
        message: 'there is too much here to ask for at once: take smaller pages',
        path: ['notification', 'template'],
        extensions: { code: 'PAYLOAD_TOO_LARGE' },
      },
    ]);
  expect(service.asked).toHaveLength(12);
});

test('a small question that its fragments make a huge one is refused before anybody plans it', async () => {
  const herald = await start({ parts: ['gateway'] });
  const asking = (depth: number) => {
    const sixTimes = (name: string, inner: string) =>
      `fragment ${name} on Template { ${[...'abcdef'].map((alias) => `${alias}: version(number: 1) { template { ...${inner} } }`).join(' ')} }`;
    const fragments = Array.from({ length: depth }, (_, level) => sixTimes(`F${level}`, `F${level + 1}`));
    return `{ template(code: "x") { ...F0 } } ${fragments.join(' ')} fragment F${depth} on Template { code }`;
  };
  const { errors, tookMs } = await ask(herald, asking(7));
  expect(errors).toMatchObject([{ extensions: { code: 'TOO_COMPLEX' } }]);
  expect(errors?.[0]?.message).toMatch(/fields, with all that its fragments hold, more than 5000/);
  expect(tookMs).toBeLessThan(2_000);
  expect((await ask(herald, asking(2))).errors).toMatchObject([{ message: 'a service that this needs is away' }]);
});

test('a trace goes from the client through to the subgraphs; one that is not valid is replaced', async () => {
  const herald = await start();
  await herald.stopPart('template');
  const service = await standIn(herald, 'template', answerJson({ data: { template: null } }));
  const read = (headers: Record<string, string>) =>
    ask(herald, '{ template(code: "x") { defaultLocale } }', {}, headers);
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  await read({ traceparent, tracestate: 'vendor=1' });
  await read({ traceparent: '00-00000000000000000000000000000000-b7ad6b7169203331-01', tracestate: 'vendor=1' });
  await read({ 'x-request-id': 'mine' });
  const traces = service.asked.map(({ headers }) => [headers['traceparent'], headers['tracestate']]);
  const made = expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  expect(traces).toEqual([
    [traceparent, 'vendor=1'],
    [made, undefined],
    [made, undefined],
  ]);
  expect(service.asked[2]?.context).toMatchObject({ requestId: 'mine', address: '127.0.0.1' });
});

test('a page over three subgraphs costs one request to each', async () => {
  const herald = await start();
  const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
  for (let sent = 0; sent < 5; sent += 1) await givenSent(herald, user, template);
  const counted = new Map<string, number>();
  const { subscribe, unsubscribe } = await import('node:diagnostics_channel');
  const count = (message: unknown) => {
    const { request } = message as { request: IncomingMessage };
    if (request.url === '/graphql')
      counted.set(String(request.headers.host), (counted.get(String(request.headers.host)) ?? 0) + 1);
  };
  subscribe('http.server.request.start', count);
  try {
    const query = '{ notifications { edges { node { id user { name email } template { code defaultLocale } } } } }';
    expect((await ask(herald, query)).errors).toBeUndefined();
  } finally {
    unsubscribe('http.server.request.start', count);
  }
  const hosts = ['gateway', 'user', 'template', 'notification'] as const;
  expect(Object.fromEntries(counted)).toEqual(
    Object.fromEntries(hosts.map((part) => [new URL(herald.urlOf(part)).host, 1])),
  );
});

describe('the supergraph file', () => {
  const OLD = 'Whoever receives notifications.';
  const describeUser = async (herald: Herald) => {
    const { data } = await ask(herald, '{ __type(name: "User") { description } }');
    return (data?.['__type'] as { description: string }).description;
  };
  const stateOf = async (herald: Herald) => (await herald.rest('GET', '/health')).body.supergraph;

  async function given() {
    const sdl = await readFile(new URL('../gateway/federation/supergraph.graphql', import.meta.url), 'utf8');
    const { path: folder, remove } = await makeFolder('supergraph');
    cleanups.push(remove);
    const path = join(folder, 'supergraph.graphql');
    await writeFile(path, sdl);
    const herald = await start({ parts: ['gateway'], supergraph: { path, extraSubgraphs: {} } });
    const replace = async (text: string) => {
      await writeFile(`${path}.new`, text);
      await rename(`${path}.new`, path);
    };
    return { herald, sdl, path, replace };
  }

  test('is taken anew by a running gateway, whichever way it is written', async () => {
    const { herald, sdl, path, replace } = await given();
    expect(await describeUser(herald)).toBe(OLD);
    await replace(sdl.replaceAll(OLD, 'Somebody new.'));
    await until(async () => (await describeUser(herald)) === 'Somebody new.', { timeoutMs: 5_000, everyMs: 50 });
    await writeFile(path, sdl.replaceAll(OLD, 'Somebody else.'));
    await until(async () => (await describeUser(herald)) === 'Somebody else.', { timeoutMs: 5_000, everyMs: 50 });
    expect(await stateOf(herald)).toMatchObject({ refused: null, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  test.each<[string, (sdl: string) => string, RegExp]>([
    ['garbage', () => 'type Query {', /Syntax Error/],
    ['an empty file', () => '', /Syntax Error/],
    ['no supergraph', () => 'type Query { me: String }', /core schema|@link|supergraph/i],
    [
      'a subgraph that has no address',
      (sdl) => sdl.replace('@join__graph(name: "template"', '@join__graph(name: "billing"'),
      /no address: billing; EXTRA_SUBGRAPHS must have it/,
    ],
    [
      'a supergraph without all of our own subgraphs',
      () => composeServices([{ name: 'user', typeDefs: parse(USER_SCHEMA) }]).supergraphSdl ?? '',
      /it lacks template and notification: compose it of/,
    ],
  ])('that is bad (%s) leaves the old one served, and is told of', async (_, change, reason) => {
    const { herald, sdl, replace } = await given();
    const { sha256 } = await stateOf(herald);
    await replace(change(sdl));
    const { refused, ...served } = await until(async () => {
      const state = await stateOf(herald);
      return state.refused !== null && state;
    });
    expect(refused).toMatch(reason);
    expect(served).toMatchObject({ sha256 });
    expect(await describeUser(herald)).toBe(OLD);
    expect((await herald.rest('GET', '/metrics')).body).toMatch(/herald_supergraph_refused\{service="gateway"\} 1/);
    await replace(sdl.replaceAll(OLD, 'Somebody new.'));
    await until(async () => (await describeUser(herald)) === 'Somebody new.', { timeoutMs: 5_000, everyMs: 50 });
    expect(await stateOf(herald)).toMatchObject({ refused: null });
  });

  test('that is gone leaves the old one served', async () => {
    const { herald, path } = await given();
    await rm(path);
    await until(async () => /ENOENT/.test((await stateOf(herald)).refused), { timeoutMs: 5_000, everyMs: 50 });
    expect(await describeUser(herald)).toBe(OLD);
  });
});
