import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CreateApiKeyDocument } from '../client/generated/operations.ts';
import { ERROR_CODES } from '../platform/mask-error.ts';
import { createCursors } from '../platform/feed-cursor.ts';
import type { Headers, RestAnswer } from './doors.ts';
import { givenTemplate, givenUser } from './given.ts';
import { PARTS } from './herald-parts.ts';
import { startHerald, type Herald } from './start.ts';

const parts = ['user', 'template', 'notification', 'gateway'] as const;
const TRUSTED = '{ me { id } }';
const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');
const byHash = (text: string) => ({ extensions: { persistedQuery: { version: 1, sha256Hash: hashOf(text) } } });

const SEND = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }';
const CREATE = 'mutation ($input: CreateUserInput!) { createUser(input: $input) { id } }';

type Ask = (body: unknown, headers?: Headers) => Promise<RestAnswer>;

/** How each code comes about, at a gateway that takes every document. */
const provoked: Record<string, (ask: Ask, herald: Herald) => Promise<RestAnswer>> = {
  BAD_USER_INPUT: (ask) => ask({ query: '{ users(first: 0) { pageInfo { endCursor } } }' }),
  UNAUTHENTICATED: (ask) => ask({ query: TRUSTED }, { authorization: undefined }),
  FORBIDDEN: async (ask, herald) => {
    const input = { clientId: 'sweep', name: 'sweep', scopes: ['users:read'] };
    const { createApiKey } = await herald.graphql(CreateApiKeyDocument, { input });
    const query = '{ notifications { pageInfo { endCursor } } }';
    return ask({ query }, { authorization: `Bearer ${createApiKey.key}` });
  },
  NOT_FOUND: (ask) => ask({ query: `mutation { cancelNotification(id: "${randomUUID()}") { cancelled } }` }),
  CONFLICT: async (ask) => {
    const input = { name: 'Ada', email: `${randomUUID()}@example.com`, password: 'correct horse' };
    await ask({ query: CREATE, variables: { input } });
    return ask({ query: CREATE, variables: { input } });
  },
  CURSOR_EXPIRED: (ask, herald) => {
    const after = createCursors(herald.secrets.notification).toCursor({ epoch: randomUUID(), seq: 1 });
    return ask({ query: `{ feed(after: "${after}") { endCursor } }` });
  },
  TOO_COMPLEX: (ask) =>
    ask({ query: '{ templates(first: 200) { edges { node { diff(from: 1, to: 2) { part } } } } }' }),
  PAYLOAD_TOO_LARGE: (ask) => ask({ query: TRUSTED, variables: { x: 'x'.repeat(3_000_000) } }),
  UNSUPPORTED_MEDIA_TYPE: (ask) => ask(TRUSTED, { 'content-type': 'text/plain' }),
  UNPROCESSABLE: async (ask, herald) => ask({ query: SEND, variables: { input: await toSend(herald, {}) } }),
  RATE_LIMITED: async (ask) => {
    for (;;) {
      const answer = await ask({ query: TRUSTED }, { authorization: 'Bearer wrong' });
      if (answer.status !== 401) return answer;
    }
  },
  UNAVAILABLE: (ask, herald) => without(herald, 'template', () => ask({ query: '{ template(code: "x") { code } }' })),
  TIMEOUT: (ask, herald) =>
    without(herald, 'template', async () => {
      const hanging = createServer(() => {}).listen(Number(new URL(herald.urlOf('template')).port), '127.0.0.1');
      await once(hanging, 'listening');
      const answer = await ask({ query: '{ template(code: "x") { code } }' });
      hanging.closeAllConnections();
      await new Promise((resolve) => hanging.close(resolve));
      return answer;
    }),
  GRAPHQL_PARSE_FAILED: (ask) => ask({ query: '{' }),
  GRAPHQL_VALIDATION_FAILED: (ask) => ask({ query: '{ nothing }' }),
  OPERATION_RESOLUTION_FAILURE: (ask) => ask({ query: 'query A { __typename } query B { __typename }' }),
  BAD_REQUEST: (ask) => ask([]),
  PERSISTED_QUERY_NOT_FOUND: (ask) => ask(byHash('{ nobody has sent this }')),
  INTERNAL: async (ask, herald) => {
    const input = await toSend(herald, { name: 'Ada' });
    await herald.sql('notification', `ALTER TABLE content ADD CONSTRAINT sweep CHECK (metadata->>'odd' IS NULL)`);
    const answer = await ask({ query: SEND, variables: { input: { ...input, metadata: { odd: 1 } } } });
    await herald.sql('notification', 'ALTER TABLE content DROP CONSTRAINT sweep');
    return answer;
  },
};

/** And at one that takes only those of a manifest. */
const provokedByTrust: typeof provoked = {
  UNTRUSTED_DOCUMENT: (ask) => ask({ query: '{ me { name } }' }),
  PERSISTED_QUERY_NOT_SUPPORTED: (ask) => ask({ query: TRUSTED, ...byHash(TRUSTED) }),
};

async function toSend(herald: Herald, variables: object) {
  const [userId, templateCode] = [await givenUser(herald), await givenTemplate(herald)];
  return { notificationType: 'EMAIL', userId, templateCode, requestId: randomUUID(), variables };
}

async function without(herald: Herald, part: 'template', ask: () => Promise<RestAnswer>): Promise<RestAnswer> {
  await herald.stopPart(part);
  try {
    return await ask();
  } finally {
    await herald.startPart(part);
  }
}

/** What no caller may learn: our code, our machines, and which service of ours it was. */
const secretsOf = (herald: Herald) => [
  /node_modules|file:\/\/|\.[jt]s:\d+|\bat \S+ \(/,
  /127\.0\.0\.1|localhost|ECONN|ENOTFOUND/,
  new RegExp(`\\b(${[...PARTS, 'gateway'].join('|')}) (service|subgraph)|serviceName|_db\\b`, 'i'),
  ...PARTS.map((part) => new RegExp(`\\b${new URL(herald.urlOf(part)).port}\\b`)),
  /\b(SELECT|INSERT|constraint|violates|relation)\b/,
];

async function expectClean(herald: Herald, code: string, provoke: (ask: Ask, herald: Herald) => Promise<RestAnswer>) {
  const requestId = randomUUID();
  const ask: Ask = (body, headers) => herald.rest('POST', '/graphql', body, { 'x-request-id': requestId, ...headers });
  const { status, headers, body } = await provoke(ask, herald);
  expect(status >= 500, `${code} ${status}`).toBe(['INTERNAL', 'UNAVAILABLE'].includes(code) && status >= 500);
  expect({ status, errors: body.errors }, code).toMatchObject({ errors: [{ extensions: { code, requestId } }] });
  expect(headers['x-request-id']).toBe(requestId);
  expect(body.errors[0].message).toMatch(/^.{10,}$/);
  for (const secret of secretsOf(herald)) expect(JSON.stringify([body, headers])).not.toMatch(secret);
}

describe('every code that an error can have is provoked, says the request’s id and nothing of what is inside', () => {
  let herald: Herald;
  beforeAll(async () => {
    herald = await startHerald({ broker: 'embedded', parts, requestTimeoutMs: 1_000, rates: { addressPerMinute: 5 } });
  });
  afterAll(() => herald?.stop());

  test.each(Object.entries(provoked))('%s', (code, provoke) => expectClean(herald, code, provoke));
});

describe('so is what only a manifest brings about', () => {
  let herald: Herald;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'herald-sweep-'));
    const path = join(folder, 'manifest.json');
    const operations = [{ id: hashOf(TRUSTED), body: TRUSTED }];
    await writeFile(path, JSON.stringify({ format: 'apollo-persisted-query-manifest', version: 1, operations }));
    herald = await startHerald({ broker: 'embedded', parts, trustedDocuments: { mode: 'enforce', path } });
  });
  afterAll(async () => {
    await herald?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test.each(Object.entries(provokedByTrust))('%s', (code, provoke) => expectClean(herald, code, provoke));
});

test('these are all codes that there are, and the protocol has a line for each and for no other', async () => {
  expect(Object.keys({ ...provoked, ...provokedByTrust }).sort()).toEqual(ERROR_CODES.toSorted());
  const protocol = await readFile(new URL('../docs/protocol.md', import.meta.url), 'utf8');
  const [, table = ''] = /\n\| Code +\| HTTP .*\n([^]*?)\n\n/.exec(protocol) ?? [];
  const told = [...table.matchAll(/^\| `([A-Z_]+)` /gm)].map(([, code]) => code);
  expect(told.sort()).toEqual(ERROR_CODES.toSorted());
});
