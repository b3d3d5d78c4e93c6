import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ADMIN, type Scope } from '../contracts/scopes.ts';
import { signRequest } from '../platform/trust.ts';
import type { Headers, Method } from './doors.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

const SEND = '/api/v1/notifications/';
const anybody = randomUUID();
const paths: [Method, string, object?][] = [
  ['POST', SEND, sendBody(anybody, 'welcome')],
  ['GET', SEND + anybody],
  ['POST', '/api/v1/email/status/', { notification_id: anybody, status: 'delivered' }],
  ['POST', '/api/v1/push/status', [{ notification_id: anybody, status: 'delivered' }]],
  ['POST', '/api/v1/users/', { name: 'Ada', email: 'ada@example.com', password: 'correct horse' }],
  ['GET', `/api/v1/users/${anybody}`],
  ['PUT', `/api/v1/users/${anybody}/preferences`, { email: true, push: true }],
  ['POST', '/api/v1/templates/', { code: 'welcome', email: { subject: 's', html: 'h' } }],
  ['GET', '/api/v1/templates/shop/welcome'],
];

describe.each<[string, () => Headers]>([
  ['no key', () => ({ authorization: undefined })],
  ['a wrong key', () => ({ authorization: 'Bearer hk_wrong' })],
  ["a key's first half", () => ({ authorization: `Bearer ${herald.adminApiKey.slice(0, 12)}` })],
  ['the key without Bearer', () => ({ authorization: herald.adminApiKey })],
  ['a wrong key as x-api-key', () => ({ authorization: undefined, 'x-api-key': 'hk_wrong' })],
  ['an empty x-api-key', () => ({ authorization: undefined, 'x-api-key': '' })],
])('with %s', (_, headers) => {
  test.each(paths)('%s %s is 401', async (method, path, body) => {
    const answer = await herald.rest(method, path, body, headers());
    expectProblem(answer, 401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
  });

  test.each<[Method, string, object?]>([
    ['POST', '/graphql', { query: '{ __typename }' }],
    ['GET', '/graphql?query=%7B__typename%7D'],
  ])('%s %s is 401, as GraphQL tells errors', async (method, path, body) => {
    const answer = await herald.rest(method, path, body, headers());
    expect(answer.status).toBe(401);
    expect(answer.body.errors).toMatchObject([
      { extensions: { code: 'UNAUTHENTICATED', requestId: answer.headers['x-request-id'] } },
    ]);
    expect(answer.body.data).toBeUndefined();
  });
});

test.each([
  ['malformed', '{"query":', 'application/json'],
  ['of another type', 'a=b', 'text/plain'],
  ['too large', JSON.stringify({ query: 'x'.repeat(3 * 1024 * 1024) }), 'application/json'],
])('without a key a body that is %s is not even read', async (_, body, type) => {
  const headers = { authorization: undefined, 'content-type': type };
  for (const path of [SEND, '/api/v1/users/', '/api/v1/templates/', '/graphql']) {
    expect(await herald.rest('POST', path, body, headers), path).toMatchObject({ status: 401 });
  }
});

test('the key works as x-api-key too', async () => {
  const user = await givenUser(herald);
  const key = { authorization: undefined, 'x-api-key': herald.adminApiKey };
  expect((await herald.rest('GET', `/api/v1/users/${user}`, undefined, key)).status).toBe(200);
});

test("the workers' key reports and does nothing else", async () => {
  const key = { authorization: `Bearer ${herald.workerApiKey}` };
  const body = sendBody(await givenUser(herald), await givenTemplate(herald));
  expect((await herald.rest('POST', SEND, body, key)).status).toBe(403);
  expect((await herald.rest('GET', SEND + anybody, undefined, key)).status).toBe(403);
  expect((await herald.rest('GET', `/api/v1/users/${body.user_id}`, undefined, key)).status).toBe(401);
  const report = { notification_id: anybody, status: 'delivered' };
  expect((await herald.rest('POST', '/api/v1/email/status/', report, key)).status).toBe(404);
});

test.each(['/health', '/ready'])('%s is open on every port', async (path) => {
  for (const part of ['gateway', 'user', 'template', 'notification'] as const) {
    const answer = await herald.rest('GET', `${herald.urlOf(part)}${path}`, undefined, { authorization: undefined });
    expect(answer).toMatchObject({ status: 200, body: { status: 'ok' } });
  }
});

test('/metrics is open on every port, each with the name of its service', async () => {
  await herald.startPart('email');
  const services = { gateway: 'gateway', user: 'user', template: 'template', notification: 'notification' } as const;
  for (const [part, service] of Object.entries({ ...services, email: 'email-worker' } as const)) {
    const url = `${herald.urlOf(part as keyof typeof services)}/metrics`;
    const { status, headers, body } = await herald.rest('GET', url, undefined, { authorization: undefined });
    expect({ part, status, type: headers['content-type'] }).toMatchObject({
      part,
      status: 200,
      type: expect.stringMatching(/^text\/plain/),
    });
    expect(body).toMatch(new RegExp(`^process_start_time_seconds{service="${service}"} \\d+`, 'm'));
  }
  await herald.stopPart('email');
});

describe.each(['user', 'template', 'notification'] as const)('GraphQL at the port of the %s subgraph', (part) => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const query = JSON.stringify({ query: '{ __typename }' });
  const post = (body: string | undefined, headers: Headers) =>
    herald.rest('POST', `${herald.urlOf(part)}/graphql`, body, headers);
  const sign = (body = query, scopes: readonly Scope[] = ADMIN.scopes, secret = herald.secrets[part]) =>
    signRequest(
      { method: 'POST', path: '/graphql', body },
      { viewer: { ...ADMIN, scopes }, requestId: 'story' },
      { caller: 'gateway', callee: part },
      secret,
    );

  test('answers a signed request, once', async () => {
    const headers = sign();
    expect(await post(query, headers)).toMatchObject({ status: 200, body: { data: { __typename: 'Query' } } });
    expectProblem(await post(query, headers), 401);
  });

  test('refuses what is not signed, whoever holds a key', async () => {
    expectProblem(await post(query, {}), 401);
    expectProblem(await post(query, { authorization: undefined }), 401);
    expectProblem(await post('', {}), 401);
    expectProblem(await post(undefined, {}), 401);
    expectProblem(await post(query, { ...sign(), 'x-herald-signature': undefined }), 401);
  });

  test('refuses what was changed on the way', async () => {
    const other = sign(query, []);
    const changes: [string, Headers][] = [
      [query.replace('__typename', '__schema { description }'), sign()],
      [query, { ...sign(), 'x-herald-context': other['x-herald-context'] }],
      [query, { ...sign(), 'x-herald-caller': 'notification' }],
      [query, { ...sign(), 'x-herald-nonce': randomUUID() }],
      [query, { ...sign(), 'x-herald-time': String(Date.now() + 1) }],
      [query, { ...sign(), 'x-herald-signature': 'c2hvcnQ' }],
      [query, sign(query, ADMIN.scopes, 'another secret of some length')],
    ];
    for (const [body, headers] of changes) expectProblem(await post(body, headers), 401);
    const elsewhere = await herald.rest('POST', `${herald.urlOf(part)}/graphql?x=1`, query, sign());
    expectProblem(elsewhere, 401);
  });

  test.each([-31_000, 31_000])('refuses what was signed %i ms from now', async (offset) => {
    const at = Date.now() + offset;
    vi.spyOn(Date, 'now').mockReturnValue(at);
    const headers = sign();
    vi.restoreAllMocks();
    expectProblem(await post(query, headers), 401);
  });
});
