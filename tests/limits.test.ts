import { createHash, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { getIntrospectionQuery } from 'graphql';
import { request } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import * as clientOperations from '../client/generated/operations.ts';
import { givenTemplate, givenUser } from './given.ts';
import { makeFolder } from './private-folder.ts';
import { startHerald, type Herald, type HeraldOptions } from './start.ts';

const parts = ['user', 'template', 'notification', 'gateway'] as const;
const ID = '00000000-0000-4000-8000-000000000000';

const ask = async (herald: Herald, body: object, headers: Record<string, string | undefined> = {}) => {
  const since = performance.now();
  const answer = await herald.rest('POST', '/graphql', body, headers);
  return { ...answer, tookMs: performance.now() - since };
};
const codesOf = ({ body }: { body: { errors?: { extensions: { code: string } }[] } }) =>
  body.errors?.map(({ extensions }) => extensions.code);

describe('an operation', () => {
  let herald: Herald;
  beforeAll(async () => {
    herald = await startHerald({ broker: 'embedded', parts, rates: { clientPerMinute: 0 } });
  });
  afterAll(() => herald?.stop());

  const repeat = (count: number, of: (index: number) => string) =>
    Array.from({ length: count }, (_, i) => of(i)).join(' ');
  /** Users of notifications of users …, and so many levels of fields. */
  const deep = (levels: number) => {
    let selection = 'id';
    for (let level = 1; level < levels; level += 1)
      selection =
        level % 2 === 0 ? `user { ${selection} }` : `notifications(first: 1) { edges { node { ${selection} } } }`;
    return `{ me { ${selection} } }`;
  };
  const pages = (outer: number, inner: number) =>
    `{ users(first: ${outer}) { edges { node { notifications(first: ${inner}) { edges { node { id } } } } } } }`;

  test.each<[string, object]>([
    [
      'a page of 200 with all that hangs on it',
      {
        query: `{ notifications(first: 200) { edges { node { status timeline { event } deliveryAttempts { number } user { name pushTokens { kind } } template { code currentVersion { contents { locale } } } } } } }`,
      },
    ],
    ['pages within pages', { query: pages(50, 50) }],
    ['a look at the whole schema', { query: getIntrospectionQuery() }],
    ['20 fields at the root', { query: `{ ${repeat(20, (i) => `f${i}: me { id }`)} }` }],
  ])('%s passes', async (_, body) => {
    const answer = await ask(herald, body);
    expect({ status: answer.status, errors: answer.body.errors }).toEqual({ status: 200, errors: undefined });
  });

  const spread = repeat(10, (i) => `fragment f${i} on User { ...f${i + 1} ...f${i + 1} ...f${i + 1} ...f${i + 1} }`);
  test.each<[string, object, RegExp]>([
    ['levels without end', { query: deep(20) }, /levels, more than 16/],
    [
      '21 fields at the root',
      { query: `{ ${repeat(21, (i) => `f${i}: me { id }`)} }` },
      /21 fields at its root, more than 20/,
    ],
    [
      'the same through a fragment',
      { query: `{ ...all ...all } fragment all on Query { ${repeat(11, (i) => `f${i}: me { id }`)} }` },
      /22 fields at its root/,
    ],
    ['51 aliases', { query: `{ me { ${repeat(51, (i) => `f${i}: id`)} } }` }, /51 aliases, more than 50/],
    [
      '51 directives',
      { query: `{ me { id ${repeat(51, () => '@include(if: true)')} } }` },
      /51 directives|can only be used once/,
    ],
    ['wide pages within pages', { query: pages(200, 200) }, /may cost 80601, more than 10000, most of it for users/],
    [
      'the same by variables',
      {
        query:
          'query ($n: Int!) { users(first: $n) { edges { node { notifications(first: $n) { edges { node { id } } } } } } }',
        variables: { n: 200 },
      },
      /may cost 80601/,
    ],
    [
      'the same by fragments',
      {
        query:
          '{ users(first: 200) { ...page } } fragment page on UserConnection { edges { node { ...more } } } fragment more on User { notifications(first: 200) { edges { node { id } } } }',
      },
      /may cost 80601/,
    ],
    [
      'the same, called like the schema',
      {
        query:
          'query __schema { ...__schema } fragment __schema on Query { users(first: 200) { edges { node { notifications(first: 200) { edges { node { id } } } } } } }',
      },
      /may cost 80601/,
    ],
    [
      'the same in inline fragments',
      {
        query:
          '{ ... on Query { ... { users(first: 200) { edges { node { ... on User { notifications(first: 200) { edges { node { id } } } } } } } } } }',
      },
      /may cost 80601/,
    ],
    [
      'log-ins at once',
      { query: `mutation { ${repeat(10, (i) => `l${i}: logIn(email: "x", password: "y") { expiresAt }`)} }` },
      /may cost 10110, more than 10000, most of it for logIn/,
    ],
    [
      'passwords by variables',
      {
        query: `mutation ($input: UpdateUserInput!) { ${repeat(10, (i) => `u${i}: updateUser(id: "${ID}", input: $input) { id }`)} }`,
        variables: { input: { password: 'correct horse' } },
      },
      /may cost 10110/,
    ],
    [
      'differences of many templates',
      { query: '{ templates(first: 200) { edges { node { diff(from: 1, to: 2) { part } } } } }' },
      /may cost 22\d\d\d/,
    ],
    [
      'five looks at the schema',
      { query: `{ ${repeat(5, (i) => `s${i}: __schema { types { name } }`)} }` },
      /may cost 12500/,
    ],
  ])('with %s is refused before it is planned', async (_, body, message) => {
    const { status, body: answer, tookMs } = await ask(herald, body);
    expect(status).toBe(400);
    expect(answer.data).toBeUndefined();
    expect(answer.errors[0]).toMatchObject({
      message: expect.stringMatching(message),
      extensions: { requestId: expect.any(String) },
    });
    expect(tookMs).toBeLessThan(1_000);
  });

  test.each<[string, string]>([
    ['10,000 aliases', `{ me { ${repeat(10_000, (i) => `f${i}: id`)} } }`],
    ['50,000 braces', '{'.repeat(50_000)],
    ['a name of 90,000 letters', `{ ${'x'.repeat(90_000)} }`],
    ['a bomb of fragments', `{ me { ...f0 } } ${spread} fragment f10 on User { id }`],
    ['fragments in a circle', '{ me { ...a } } fragment a on User { ...b } fragment b on User { ...a }'],
    ['fields that overlap as often as the tokens allow', `{ ${repeat(300, () => 'me { id name email }')} }`],
    [
      'a look at the schema in circles',
      `{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }`,
    ],
  ])('of %s is answered at once, and nobody else waits for it', async (_, query) => {
    const health = async () => {
      const since = performance.now();
      await herald.rest('GET', '/health');
      return performance.now() - since;
    };
    const [answer, waited] = await Promise.all([ask(herald, { query }), health()]);
    expect([200, 400]).toContain(answer.status);
    if (answer.status === 200) expect(answer.body.errors).toBeUndefined();
    expect(answer.tookMs).toBeLessThan(2_000);
    expect(waited).toBeLessThan(1_000);
  });

  test('that sends many is as large as it needs to be; no other is larger than 100 KiB', async () => {
    const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
    const query =
      'mutation ($inputs: [SendNotificationInput!]!) { sendNotifications(inputs: $inputs) { error { code } } }';
    const send = (size: number) => ({
      notificationType: 'EMAIL',
      userId: user,
      templateCode: template,
      requestId: randomUUID(),
      variables: { name: 'x'.repeat(size) },
    });
    const many = await ask(herald, { query, variables: { inputs: [send(80_000), send(80_000)] } });
    expect({ status: many.status, body: many.body }).toMatchObject({
      status: 200,
      body: { data: { sendNotifications: [{ error: null }, { error: null }] } },
    });
    const one = await ask(herald, {
      query: 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }',
      variables: { input: send(120_000) },
    });
    expect({ status: one.status, codes: codesOf(one) }).toEqual({ status: 413, codes: ['PAYLOAD_TOO_LARGE'] });
    expect((await ask(herald, { query: `{ me { id } } #${'x'.repeat(3 * 1024 * 1024)}` })).status).toBe(413);
  });

  test('in chunks is measured, too, and null for a size is the caller’s fault', async () => {
    const body = JSON.stringify({ query: '{ __typename }', variables: { x: 'x'.repeat(150_000) } });
    const chunked = await request(`${herald.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${herald.adminApiKey}` },
      body: Readable.from([body.slice(0, 70_000), body.slice(70_000)]),
    });
    await chunked.body.dump();
    expect(chunked.statusCode).toBe(413);
    const query = 'query ($n: Int) { users(first: $n) { edges { node { id } } } }';
    const answer = await ask(herald, { query, variables: { n: null } });
    expect(answer.status).toBeLessThan(500);
    expect(codesOf(answer)).not.toContain('INTERNAL');
  });

  test('goes alone, and changes nothing by GET', async () => {
    const batch = await herald.rest('POST', '/graphql', [{ query: '{ __typename }' }]);
    expect({ status: batch.status, code: codesOf(batch) }).toEqual({ status: 400, code: ['BAD_REQUEST'] });
    const mutation = encodeURIComponent(`mutation { deleteUser(id: "${ID}") }`);
    const get = (query: string, headers = {}) =>
      herald.rest('GET', `/graphql?query=${query}`, undefined, { 'apollo-require-preflight': '1', ...headers });
    expect((await get(mutation)).status).toBe(405);
    expect((await get('%7B__typename%7D')).status).toBe(200);
    // A browser could send these by itself.
    expect((await get('%7B__typename%7D', { 'apollo-require-preflight': undefined })).status).toBe(400);
    expect(
      (await herald.rest('POST', '/graphql', '{"query":"{__typename}"}', { 'content-type': 'text/plain' })).status,
    ).toBe(415);
  });
});

describe('by configuration', () => {
  let herald: Herald | undefined;
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    await herald?.stop();
    herald = undefined;
    for (const cleanup of cleanups.splice(0)) await cleanup();
  });
  const start = async (options: HeraldOptions) =>
    (herald = await startHerald({ broker: 'embedded', parts, ...options }));

  test('nobody looks at the schema, and errors tell nothing of it', async () => {
    const at = await start({ introspection: false });
    for (const query of [
      '{ __schema { types { name } } }',
      '{ __type(name: "User") { name } }',
      '{ ...s } fragment s on Query { __schema { queryType { name } } }',
    ])
      expect((await ask(at, { query })).status, query).toBe(400);
    expect((await ask(at, { query: '{ __typename }' })).body).toEqual({ data: { __typename: 'Query' } });
  });

  const SEND = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }';
  const typos: [string, object][] = [
    ['a field', { query: '{ user(id: "x") { nam } }' }],
    ['a field of the root', { query: '{ notificatio { id } }' }],
    ['a type', { query: '{ me { ... on Usr { id } } }' }],
    [
      'a type of a variable',
      { query: 'query ($f: NotificationFilte) { notifications(filter: $f) { pageInfo { endCursor } } }' },
    ],
    ['an argument', { query: '{ users(serch: "x") { pageInfo { endCursor } } }' }],
    ['an argument of a directive', { query: '{ me { id @include(iff: true) } }' }],
    ['a selection that is missing', { query: '{ me }' }],
    ['an enum value', { query: '{ notifications(filter: { status: PENDIN }) { pageInfo { endCursor } } }' }],
    ['an enum value as text', { query: '{ notifications(filter: { status: "PENDIN" }) { pageInfo { endCursor } } }' }],
    ['an input field', { query: '{ notifications(filter: { statu: PENDING }) { pageInfo { endCursor } } }' }],
    ['an enum value in a variable', { query: SEND, variables: { input: { notificationType: 'EMAL' } } }],
    ['an input field in a variable', { query: SEND, variables: { input: { userI: 'x' } } }],
    [
      'a variable that is an enum',
      {
        query: 'query ($s: NotificationStatus) { notifications(filter: { status: $s }) { pageInfo { endCursor } } }',
        variables: { s: 'PENDIN' },
      },
    ],
  ];

  test.each([
    { introspection: true, names: 'suggests names' },
    { introspection: false, names: 'suggests none' },
  ])('whoever misspells is told so; with introspection $introspection it $names', async ({ introspection }) => {
    const at = await start({ introspection });
    for (const [what, body] of typos) {
      const { status, body: answer } = await ask(at, body);
      expect(status, what).toBe(400);
      expect(answer.errors[0].message, what).toMatch(/./);
      expect(/Did you mean/.test(JSON.stringify(answer)), what).toBe(introspection);
    }
  });

  const QUERY = 'query Mine { me { id } }';
  const digestOf = (document: string) => createHash('sha256').update(document).digest('hex');
  const id = digestOf(QUERY);
  async function manifest(...others: string[]): Promise<string> {
    const { path, remove } = await makeFolder('documents');
    cleanups.push(remove);
    const file = join(path, 'manifest.json');
    const operations = [QUERY, ...others].map((body) => ({ id: digestOf(body), name: 'Mine', type: 'query', body }));
    await writeFile(file, JSON.stringify({ format: 'apollo-persisted-query-manifest', version: 1, operations }));
    return file;
  }
  const byId = { extensions: { persistedQuery: { version: 1, sha256Hash: id } } };
  const OTHER = 'query Other { me { name } }';

  test('only documents of the manifest are taken, whole or by their id; REST is as it was', async () => {
    const at = await start({ trustedDocuments: { mode: 'enforce', path: await manifest() } });
    expect((await ask(at, { query: QUERY })).body).toEqual({ data: { me: null } });
    expect((await ask(at, byId)).body).toEqual({ data: { me: null } });
    for (const body of [
      { query: OTHER },
      { query: `${QUERY} ` },
      { ...byId, query: OTHER },
      { extensions: { persistedQuery: { version: 1, sha256Hash: 'f'.repeat(64) } } },
    ]) {
      const answer = await ask(at, body);
      expect({ status: answer.status, codes: codesOf(answer) }).toEqual({ status: 400, codes: ['UNTRUSTED_DOCUMENT'] });
    }
    expect((await at.rest('GET', '/api/v1/notifications/')).status).toBe(200);
  });

  test('a trusted query is taken by GET, too, whole or by its id; a mutation is not', async () => {
    const [query, mutation] = [
      'query One($id: ID!) { user(id: $id) { id } }',
      'mutation End { logOut(refreshToken: "x") }',
    ];
    const at = await start({ trustedDocuments: { mode: 'enforce', path: await manifest(query, mutation) } });
    const get = (search: Record<string, string>) =>
      at.rest('GET', `/graphql?${new URLSearchParams(search).toString()}`, undefined, {
        'apollo-require-preflight': '1',
      });
    const named = (document: string) => ({
      extensions: JSON.stringify({ persistedQuery: { version: 1, sha256Hash: digestOf(document) } }),
    });
    const variables = JSON.stringify({ id: ID });
    for (const search of [{ query }, named(query)])
      expect(await get({ ...search, variables })).toMatchObject({ status: 200, body: { data: { user: null } } });
    for (const search of [{ query: mutation }, named(mutation)]) expect((await get(search)).status).toBe(405);
    const untrusted: Record<string, string>[] = [{ query: OTHER }, named(OTHER), { extensions: '{' }, {}];
    for (const search of untrusted) expect(codesOf(await get(search))).toEqual(['UNTRUSTED_DOCUMENT']);
    expect((await get({ ...named(query), query: OTHER })).status).toBe(400);
    const twice = await at.rest(
      'GET',
      `/graphql?query=${encodeURIComponent(OTHER)}&query=${encodeURIComponent(query)}`,
      undefined,
      {
        'apollo-require-preflight': '1',
      },
    );
    expect({ status: twice.status, codes: codesOf(twice) }).toEqual({ status: 400, codes: ['BAD_REQUEST'] });
  });

  test('the client’s own documents are in the manifest that comes with it, and work by their id', async () => {
    const path = fileURLToPath(new URL('../client/generated/trusted-documents.json', import.meta.url));
    const { operations } = JSON.parse(await readFile(path, 'utf8')) as { operations: { id: string; name: string }[] };
    expect(operations.map(({ name }) => `${name}Document`).sort()).toEqual(
      Object.keys(clientOperations)
        .filter((name) => name.endsWith('Document'))
        .sort(),
    );
    const at = await start({ trustedDocuments: { mode: 'enforce', path } });
    const sha256Hash = operations.find(({ name }) => name === 'SendNotification')?.id;
    const [user, template] = [await givenUser(at), await givenTemplate(at)];
    const input = {
      notificationType: 'EMAIL' as const,
      userId: user,
      templateCode: template,
      requestId: randomUUID(),
      variables: { name: 'Ada' },
    };
    const sent = await ask(at, { extensions: { persistedQuery: { version: 1, sha256Hash } }, variables: { input } });
    expect(sent.body).toMatchObject({ data: { sendNotification: { duplicate: false } } });
    const again = await at.graphql(clientOperations.SendNotificationDocument, { input });
    expect(again.sendNotification).toMatchObject({ duplicate: true });
    expect(codesOf(await ask(at, { query: OTHER }))).toEqual(['UNTRUSTED_DOCUMENT']);
  });

  test('others are taken and told of', async () => {
    const at = await start({ trustedDocuments: { mode: 'log', path: await manifest() } });
    for (const body of [{ query: QUERY }, byId, { query: OTHER }])
      expect((await ask(at, body)).body).toEqual({ data: { me: null } });
  });

  test('documents are kept by their hash for a while (automatic persisted queries)', async () => {
    const at = await start({});
    expect(codesOf(await ask(at, byId))).toEqual(['PERSISTED_QUERY_NOT_FOUND']);
    expect((await ask(at, { ...byId, query: QUERY })).body).toEqual({ data: { me: null } });
    expect((await ask(at, byId)).body).toEqual({ data: { me: null } });
    expect((await ask(at, { ...byId, query: OTHER })).status).toBe(400);
  });
});

test('the graph says of its lists how long they may be, and what is dear', async () => {
  const sdl = await readFile(new URL('../gateway/federation/supergraph.graphql', import.meta.url), 'utf8');
  const connections = sdl.match(/: \w+Connection!.*/g) ?? [];
  expect(connections.length).toBeGreaterThan(5);
  expect(connections.filter((line) => !line.includes('@listSize'))).toEqual([]);
  // What clients can't see of a directive, they read in the description.
  const weights = [...sdl.matchAll(/@cost\(weight: (\d+)\)/g)].map(([, weight]) => weight).sort();
  expect(weights.length).toBeGreaterThan(5);
  expect([...sdl.matchAll(/Costs as much as (\d+) objects/g)].map(([, weight]) => weight).sort()).toEqual(weights);
});
