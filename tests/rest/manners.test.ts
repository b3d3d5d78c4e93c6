import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rehearse } from '../../gateway/rehearse.ts';
import { operationsOf } from '../../platform/rest/route.ts';
import { routesOf, TAGS } from '../../rest/table.ts';
import { givenSent, givenTemplate, givenUser, sendBody } from '../given.ts';
import { PARTS, type Part } from '../herald-parts.ts';
import { expectProblem } from '../problem.ts';
import { startHerald, type Herald } from '../start.ts';
import { until } from '../until.ts';

const SENDS = '/api/v1/notifications/';
const USERS = '/api/v1/users/';

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded' });
  [user, template] = [await givenUser(herald), await givenTemplate(herald)];
});
afterAll(() => herald?.stop());

describe('what is read has an ETag', () => {
  test('that answers 304 until it changes', async () => {
    const url = USERS + (await givenUser(herald));
    const first = await herald.rest('GET', url);
    const etag = String(first.headers['etag']);
    expect(etag).toMatch(/^"[\w-]+"$/);
    expect(first.headers['cache-control']).toBe('private, no-cache');
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const again = await herald.rest('GET', url, undefined, { 'if-none-match': known });
      expect([again.status, again.body, again.headers['etag']], known).toEqual([304, '', etag]);
    }
    await herald.rest('PATCH', url, { name: 'Ada King' });
    const changed = await herald.rest('GET', url, undefined, { 'if-none-match': etag });
    expect([changed.status, changed.body.name]).toEqual([200, 'Ada King']);
    expect(changed.headers['etag']).not.toBe(etag);
  });

  test('that opens nothing to anybody without a key', async () => {
    const headers = { authorization: undefined, 'if-none-match': '*' };
    expectProblem(await herald.rest('GET', USERS + user, undefined, headers), 401);
  });
});

test.each([
  ['users', USERS, 'users'],
  ['users at the gateway', `gateway${USERS}`, 'users'],
  ['templates', '/api/v1/templates/', 'templates'],
  ['notifications', `${SENDS}?notification_type=email`, 'notifications'],
])('the pages of a list of %s follow each other by their Link headers', async (_, path, name) => {
  for (let count = 0; count < 3; count += 1)
    await givenSent(herald, await givenUser(herald), await givenTemplate(herald));
  await herald.drained();
  const start = path.startsWith('gateway') ? herald.url + path.slice('gateway'.length) : path;
  const whole = await herald.rest('GET', `${start}${start.includes('?') ? '&' : '?'}first=200`);
  expect(whole.headers['link']).toBeUndefined();
  const seen: unknown[] = [];
  let next: string | undefined = `${start}${start.includes('?') ? '&' : '?'}first=2`;
  while (next !== undefined) {
    const { body, headers } = await herald.rest('GET', next);
    expect(body[name].length).toBeLessThanOrEqual(2);
    seen.push(...body[name]);
    const link = /^<([^>]+)>; rel="next"$/.exec(String(headers['link']))?.[1];
    expect(link === undefined).toBe(body.next === null);
    next = link && (start.startsWith('http') ? herald.url + link : link);
  }
  expect(seen.length).toBeGreaterThan(2);
  expect(seen).toEqual(whole.body[name]);
});

test('what was made says where it is', async () => {
  const sent = await herald.rest('POST', SENDS, sendBody(user, template));
  const at = String(sent.headers['location']);
  expect(at).toBe(`${SENDS}${sent.body.notification_id}`);
  expect((await herald.rest('GET', at)).body.notification_id).toBe(sent.body.notification_id);
  const code = `shop/${randomUUID()}`;
  const made = await herald.rest('POST', '/api/v1/templates/', { code, push: { title: 'a', body: 'b' } });
  expect(made.headers['location']).toBe(`/api/v1/templates/${code}`);
  expect((await herald.rest('GET', String(made.headers['location']))).body.code).toBe(code);
  const draft = { contents: [{ locale: 'en', push: { title: 'a', body: 'new' } }] };
  const { headers } = await herald.rest('POST', `/api/v1/templates/${code}/versions`, draft);
  expect(headers['location']).toBe(`/api/v1/templates/${code}?version=2`);
  expect((await herald.rest('GET', String(headers['location']))).body.push.body).toBe('new');
});

describe('the ids of a request', () => {
  test.each<[Record<string, string>, string | RegExp, string | RegExp]>([
    [{ 'x-request-id': 'r-1', 'x-correlation-id': 'c-1' }, 'r-1', 'c-1'],
    [{ 'x-request-id': 'r-1' }, 'r-1', 'r-1'],
    [{ 'x-correlation-id': 'c-1' }, 'c-1', 'c-1'],
    [{ 'x-request-id': 'not one', 'x-correlation-id': 'c-1' }, 'c-1', 'c-1'],
    [{}, /^[0-9a-f-]{36}$/, /^[0-9a-f-]{36}$/],
  ])('%j come back', async (given, requestId, correlationId) => {
    for (const door of ['gateway', 'user'] as const) {
      const { headers } = await herald.rest('GET', herald.urlOf(door) + USERS + user, undefined, given);
      expect(headers['x-request-id']).toEqual(
        requestId instanceof RegExp ? expect.stringMatching(requestId) : requestId,
      );
      expect(headers['x-correlation-id']).toEqual(
        correlationId instanceof RegExp ? expect.stringMatching(correlationId) : correlationId,
      );
    }
  });
});

describe('a body', () => {
  const post = (body: string, headers = {}) => herald.rest('POST', SENDS, body, headers);
  const text = () => JSON.stringify(sendBody(user, template));

  test.each<[string, Record<string, string>, number]>([
    ['as text', { 'content-type': 'text/plain' }, 415],
    ['as a form', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['as XML', { 'content-type': 'application/xml' }, 415],
    ['in another charset', { 'content-type': 'application/json; charset=utf-16' }, 415],
    ['that is said to be compressed', { 'content-encoding': 'gzip' }, 415],
    ['in UTF-8', { 'content-type': 'application/json; charset=UTF-8' }, 202],
  ])('%s', async (_, headers, status) => {
    const answer = await post(text(), headers);
    if (status === 202) expect(answer.status).toBe(202);
    else expectProblem(answer, status);
  });

  test('that names a field twice is refused by its name', async () => {
    expectProblem(await post(text().replace('{', '{"priority":1,"priority":2,')), 400, ['priority']);
    expectProblem(await post(text().replace('"name":', '"name":1,"name":')), 400, ['variables.name']);
    expectProblem(await post(`[${text()},${text().replace('{', '{"priority":1,"priority":2,')}]`), 400, ['1.priority']);
    expectProblem(await herald.rest('POST', USERS, '{"name":"a","name":"b"}'), 400, ['name']);
  });

  test('of nothing, 3 MB, or nested deep, is refused', async () => {
    expectProblem(await post(''), 400, ['notification_type', 'template_code', 'user_id']);
    expectProblem(await post(JSON.stringify({ metadata: 'x'.repeat(3_000_000) })), 413);
    const deep = `${'{"a":'.repeat(150)}1${'}'.repeat(150)}`;
    expectProblem(await post(text().replace('{', `{"metadata":${deep},`)), 400, ['metadata']);
    expectProblem(await post(text().replace('{', `{"metadata":${'['.repeat(900_000)}`)), 400);
  });

  test('may be left out where nothing in it is needed', async () => {
    const id = await givenSent(herald, user, template, { send_at: new Date(Date.now() + 3_600_000).toISOString() });
    expect(await herald.rest('POST', `${SENDS}${id}/cancel/`)).toMatchObject({
      status: 200,
      body: { cancelled: true },
    });
  });
});

describe('users', () => {
  test('are replaced by PUT and changed by PATCH, at either door', async () => {
    for (const door of ['gateway', 'user'] as const) {
      const id = await givenUser(herald, { push_token: 'first', locale: 'de' });
      const url = `${herald.urlOf(door)}${USERS}${id}`;
      const whole = { name: 'Bob', email: `${randomUUID()}@example.com`, preferences: { email: false, push: true } };
      expect((await herald.rest('PUT', url, whole)).body).toEqual({ id, ...whole, push_token: 'first' });
      expectProblem(await herald.rest('PUT', url, { name: 'Bob' }), 400, ['email', 'preferences']);
      expect((await herald.rest('PATCH', url, { push_token: 'second' })).body).toEqual({
        id,
        ...whole,
        push_token: 'second',
      });
      expect((await herald.rest('PATCH', url, { push_token: 'first' })).body.push_token).toBe('first');
      const tokens = await herald.sql('user', 'SELECT token FROM push_token WHERE user_id = $1 ORDER BY token', [id]);
      expect(tokens.map(({ token }) => token)).toEqual(['first', 'second']);
      expect((await herald.rest('PATCH', url, { push_token: null })).body.push_token).toBeNull();
      expect(await herald.sql('user', 'SELECT FROM push_token WHERE user_id = $1', [id])).toEqual([]);
      expect((await herald.rest('GET', `${url}/preferences`)).body).toEqual({ email: false, push: true });
      expectProblem(await herald.rest('PATCH', `${herald.urlOf(door)}${USERS}${randomUUID()}`, { name: 'x' }), 404, [
        'id',
      ]);
    }
  });

  test('have at most 50 devices, and a refused one changes nothing', async () => {
    const url = USERS + (await givenUser(herald, { push_token: undefined }));
    for (let count = 0; count < 50; count += 1) await herald.rest('PATCH', url, { push_token: `device ${count}` });
    const before = (await herald.rest('GET', url)).body;
    expectProblem(await herald.rest('PATCH', url, { name: 'Eve', push_token: 'one more' }), 422, ['push_token']);
    expect((await herald.rest('GET', url)).body).toEqual(before);
    expect((await herald.rest('PATCH', url, { push_token: 'device 7' })).body.push_token).toBe('device 7');
  });
});

test("a notification's status is read by its type", async () => {
  const id = await givenSent(herald, user, template);
  await herald.drained();
  expect((await herald.rest('GET', `/api/v1/email/status/${id}`)).body).toEqual({
    notification_id: id,
    status: 'delivered',
    timestamp: expect.stringMatching(/^\d{4}-/),
    error: null,
  });
  for (const path of [`push/status/${id}`, `sms/status/${id}`, `email/status/${randomUUID()}`])
    expectProblem(await herald.rest('GET', `/api/v1/${path}`), 404);
});

test('nothing answers with HTML, whatever a client accepts', async () => {
  for (const path of [SENDS + 'x', `${SENDS}?first=0`, '/api/v1/nothing', '/api/v2/', `${USERS}%00`])
    for (const accept of ['text/html', '*/*', 'application/xml']) {
      const answer = await herald.rest('GET', herald.url + path, undefined, { accept });
      expect(answer.headers['content-type'], path).toMatch(/^application\/problem\+json/);
    }
});

test('every process says that it lives, and how each thing it needs is', async () => {
  for (const part of PARTS) {
    expect((await herald.rest('GET', `${herald.urlOf(part)}/health`)).body, part).toMatchObject({ status: 'ok' });
    const { status, body } = await herald.rest('GET', `${herald.urlOf(part)}/ready`);
    expect([status, body.status], part).toEqual([200, 'ok']);
    const checks = Object.entries(body.checks as Record<string, { required: boolean }>);
    for (const [name, check] of checks)
      expect(check, `${part} ${name}`).toEqual({
        state: 'up',
        latency_ms: expect.any(Number),
        required: expect.any(Boolean),
      });
    const namesOf = (isRequired: boolean) =>
      checks.filter(([, { required }]) => required === isRequired).map(([name]) => name);
    expect({ required: namesOf(true), optional: namesOf(false) }, part).toEqual(NEEDS[part]);
  }
});

const NEEDS: Record<Part, { required: string[]; optional: string[] }> = {
  user: { required: ['postgres'], optional: ['cache', 'notification'] },
  template: { required: ['postgres'], optional: ['user', 'cache'] },
  notification: { required: ['postgres'], optional: ['user', 'template', 'broker'] },
  gateway: { required: ['user', 'template', 'notification'], optional: ['broker', 'cache'] },
  email: { required: ['postgres', 'cache', 'preferences', 'smtp', 'broker'], optional: ['user', 'gateway'] },
  push: { required: ['postgres', 'cache', 'preferences', 'sandbox', 'broker'], optional: ['user', 'gateway'] },
};

describe('a supergraph that the operations of the REST paths do not fit', () => {
  const operations = routesOf(TAGS).flatMap(operationsOf);
  const read = () => readFile(new URL('../../gateway/federation/supergraph.graphql', import.meta.url), 'utf8');
  const spoil = (sdl: string) => sdl.replaceAll(/\bduplicate: Boolean!/g, 'isDuplicate: Boolean!');

  test('is refused by name', async () => {
    const sdl = await read();
    expect(() => rehearse(sdl, operations)).not.toThrow();
    expect(() => rehearse(spoil(sdl), operations)).toThrow(/REST paths.*"duplicate"/);
  });

  test('is not served by a gateway that runs', async () => {
    // One Herald at a time in a file.
    await herald.stop();
    const folder = await mkdtemp(join(tmpdir(), 'herald-'));
    const path = join(folder, 'supergraph.graphql');
    await writeFile(path, await read());
    herald = await startHerald({
      broker: 'embedded',
      parts: ['user', 'template', 'notification', 'gateway'],
      supergraph: { path, extraSubgraphs: {} },
    });
    await writeFile(path, spoil(await read()));
    await until(async () => (await herald.rest('GET', `${herald.url}/health`)).body.supergraph.refused !== null);
    expect((await herald.rest('GET', `${herald.url}/health`)).body.supergraph.refused).toMatch(/duplicate/);
    const sent = await herald.rest('POST', SENDS, sendBody(await givenUser(herald), await givenTemplate(herald)));
    expect(sent.status).toBe(202);
    await rm(folder, { recursive: true });
  });
});
