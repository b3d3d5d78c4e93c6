import { createHash, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Headers, Method } from '../doors.ts';
import { givenUser } from '../given.ts';
import { makeFolder } from '../private-folder.ts';
import { startHerald, type Herald } from '../start.ts';
import { readTables } from './table-rows.ts';

const parts = ['user', 'template', 'notification', 'gateway'] as const;
/** As programs send it; browsers can't by themselves. */
const PREFLIGHT = { 'apollo-require-preflight': '1' };

let herald: Herald;
/** Whom each of these would delete. */
let user: string;

const DELETE_USER = 'mutation Delete($id: ID!) { deleteUser(id: $id) }';
const HASH = createHash('sha256').update(DELETE_USER).digest('hex');
const inUrl = (parameters: Record<string, unknown>) =>
  `/graphql?${Object.entries(parameters)
    .map(([name, value]) => `${name}=${encodeURIComponent(typeof value === 'string' ? value : JSON.stringify(value))}`)
    .join('&')}`;
const byHash = { extensions: { persistedQuery: { version: 1, sha256Hash: HASH } } };

type Try = [what: string, status: number, attempt: (id: string) => [Method, string, unknown?, Headers?]];

/** Each would delete a user, with the admin's own key. */
const TRIES: Try[] = [
  [
    'of two in a document, by GET',
    405,
    (id) => [
      'GET',
      inUrl({ query: `query A { __typename } ${DELETE_USER}`, operationName: 'Delete', variables: { id } }),
    ],
  ],
  [
    'behind a question in the same parameter',
    400,
    (id) => [
      'GET',
      `${inUrl({ query: '{ __typename }' })}&${inUrl({ query: DELETE_USER, variables: { id } }).slice(9)}`,
    ],
  ],
  ['in the URL of a POST', 400, (id) => ['POST', inUrl({ query: DELETE_USER, variables: { id } }), {}]],
  [
    'in a batch with others',
    400,
    (id) => ['POST', '/graphql', [{ query: DELETE_USER, variables: { id } }, { query: '{ __typename }' }]],
  ],
  [
    'in a form',
    415,
    (id) => [
      'POST',
      '/graphql',
      inUrl({ query: DELETE_USER, variables: { id } }).slice(9),
      { 'content-type': 'application/x-www-form-urlencoded' },
    ],
  ],
  [
    'as JSON that says it is text',
    415,
    (id) => [
      'POST',
      '/graphql',
      JSON.stringify({ query: DELETE_USER, variables: { id } }),
      { 'content-type': 'text/plain' },
    ],
  ],
  ['by PUT', 404, (id) => ['PUT', '/graphql', { query: DELETE_USER, variables: { id } }]],
  ['by DELETE', 404, (id) => ['DELETE', '/graphql', { query: DELETE_USER, variables: { id } }]],
  [
    'at a subgraph, by whoever holds the admin’s key',
    401,
    (id) => ['POST', `${herald.urlOf('user')}/graphql`, { query: DELETE_USER, variables: { id } }],
  ],
  [
    'at a subgraph, by GET',
    404,
    (id) => ['GET', `${herald.urlOf('user')}${inUrl({ query: DELETE_USER, variables: { id } })}`],
  ],
];

/** Expects it to be refused, and everything to stay as it was. */
async function expectRefused(attempt: ReturnType<Try[2]>, expected: number) {
  const before = await readTables(herald);
  const [method, path, body, headers] = attempt;
  const { status } = await herald.rest(method, path, body, { ...PREFLIGHT, ...headers });
  expect(status).toBe(expected);
  expect(await readTables(herald)).toEqual(before);
}

describe('a mutation in disguise changes nothing', () => {
  beforeAll(async () => {
    herald = await startHerald({ broker: 'embedded', parts });
    user = await givenUser(herald);
  });
  afterAll(() => herald?.stop());

  test.each(TRIES)('%s', async (_, status, attempt) => expectRefused(attempt(user), status));

  test('by GET and the hash under which it was kept', async () => {
    const variables = { id: randomUUID() };
    const kept = await herald.rest('POST', '/graphql', { query: DELETE_USER, variables, ...byHash });
    expect(kept.body.errors[0].extensions.code).toBe('NOT_FOUND');
    expect((await herald.rest('POST', '/graphql', { variables, ...byHash })).body.errors[0].extensions.code).toBe(
      'NOT_FOUND',
    );
    await expectRefused(['GET', inUrl({ variables: { id: user }, ...byHash })], 405);
  });
});

describe('where only known documents are taken, a known mutation', () => {
  let remove: (() => Promise<void>) | undefined;
  beforeAll(async () => {
    const folder = await makeFolder('documents');
    remove = folder.remove;
    const path = join(folder.path, 'manifest.json');
    const operations = [{ id: HASH, name: 'Delete', type: 'mutation', body: DELETE_USER }];
    await writeFile(path, JSON.stringify({ format: 'apollo-persisted-query-manifest', version: 1, operations }));
    herald = await startHerald({ broker: 'embedded', parts, trustedDocuments: { mode: 'enforce', path } });
  });
  afterAll(async () => {
    await herald?.stop();
    await remove?.();
  });

  test('by GET, whole or by its hash, changes nothing; nor does an unknown one beside it', async () => {
    const id = await givenUser(herald);
    await expectRefused(['GET', inUrl({ query: DELETE_USER, variables: { id } })], 405);
    await expectRefused(['GET', inUrl({ variables: { id }, ...byHash })], 405);
    const unknown = DELETE_USER.replace('Delete', 'Other');
    await expectRefused(['POST', '/graphql', { query: unknown, variables: { id }, ...byHash }], 400);
    await expectRefused(
      ['GET', `${inUrl({ query: DELETE_USER })}&${inUrl({ query: unknown, variables: { id } }).slice(9)}`],
      400,
    );
    await expectRefused(['POST', '/graphql', [{ query: DELETE_USER, variables: { id } }]], 400);
    const known = await herald.rest('POST', '/graphql', { variables: { id }, ...byHash });
    expect(known.body).toEqual({ data: { deleteUser: true } });
  });
});
