import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createClient } from '../../client/client.ts';
import { CreateApiKeyDocument, LogInDocument } from '../../client/generated/operations.ts';
import { CLIENT_SCOPES } from '../../contracts/scopes.ts';
import { givenSent, givenTemplate, givenUser } from '../given.ts';
import { expectProblem } from '../problem.ts';
import { startHerald, type Herald } from '../start.ts';
import { faultOf, operations, streams, unfitOf } from './document.ts';
import { doorsOf, fill, givenSubject, urlFor } from './prepare.ts';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

describe.each(operations)('the example of $operation.operationId', ({ path, method, operation }) => {
  test.each(doorsOf(operation))('is answered as documented by the %s', async (door) => {
    const subject = await givenSubject(herald, operation.operationId);
    const body = fill(operation.requestBody?.content['application/json']?.example, subject);
    const answer = await herald.rest(method, herald.urlOf(door) + urlFor(path, operation, subject), body);
    const [success] = Object.keys(operation.responses).filter((status) => status.startsWith('2'));
    expect(answer, JSON.stringify(answer.body)).toMatchObject({ status: Number(success) });
    expect(unfitOf(operation, answer)).toBeNull();
    const { location } = answer.headers;
    expect(location !== undefined).toBe('Location' in (operation.responses[answer.status]?.headers ?? {}));
    if (location !== undefined && !Array.isArray(answer.body))
      expect(await herald.rest('GET', herald.urlOf(door) + String(location))).toMatchObject({ status: 200 });
  });
});

describe('no more rights than the document asks for', () => {
  const CLIENT = 'narrow';
  const keyWith = async (scopes: readonly string[]) => {
    const input = { clientId: CLIENT, name: 'narrow', scopes: [...scopes] };
    return (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey.key;
  };
  /** Its own client's, with every right: what it sends is the client's. */
  const asClient = async (): Promise<Herald> => {
    const authorization = `Bearer ${await keyWith(CLIENT_SCOPES)}`;
    return {
      ...herald,
      rest: (method, path, body, headers) => herald.rest(method, path, body, { authorization, ...headers }),
    };
  };

  test.each(operations)('are enough for $operation.operationId', async ({ path, method, operation }) => {
    const subject = await givenSubject(await asClient(), operation.operationId);
    const scopes = /Requires `([^`]+)`/.exec(operation.description ?? '')?.[1]?.split(' ') ?? [];
    const body = fill(operation.requestBody?.content['application/json']?.example, subject);
    const headers = { authorization: `Bearer ${await keyWith(scopes)}` };
    const answer = await herald.rest(method, herald.url + urlFor(path, operation, subject), body, headers);
    expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
    expect(unfitOf(operation, answer)).toBeNull();
    const isTold = answer.body.notification_id !== undefined && 'metadata' in answer.body;
    expect(isTold).toBe(operation.operationId === 'readNotification');
  });

  test('a user reads what was sent to them, without what is the client’s', async () => {
    const email = 'ada.of.examples@example.com';
    const user = await givenUser(herald, { email });
    const id = await givenSent(herald, user, await givenTemplate(herald), { metadata: { order: 7 } });
    const { logIn } = await createClient({ url: herald.url, apiKey: '' }).request(LogInDocument, {
      email,
      password: 'correct horse',
    });
    const ask = (method: 'GET' | 'POST', path: string) =>
      herald.rest(method, `/api/v1/${path}`, undefined, { authorization: `Bearer ${logIn.accessToken}` });
    const one = await ask('GET', `notifications/${id}`);
    expect(one).toMatchObject({ status: 200, body: { notification_id: id, user_id: user } });
    expect(await ask('GET', 'notifications/')).toMatchObject({ status: 200, body: { notifications: [one.body] } });
    expect(one.body).not.toHaveProperty('metadata');
    expect((await herald.rest('GET', `/api/v1/notifications/${id}`)).body.metadata).toEqual({ order: 7 });
    expect(await ask('GET', `email/status/${id}`)).toMatchObject({ status: 200, body: { notification_id: id } });
    expect(await ask('POST', `notifications/${id}/stream-token/`)).toMatchObject({ status: 201 });
    expectProblem(await ask('GET', `notifications/${id}/attempts/`), 403);
    expectProblem(await ask('POST', `notifications/${id}/cancel/`), 403);
  });
});

test.each(streams)('$operation.operationId streams what the document says', async ({ path, operation }) => {
  const subject = await givenSubject(herald);
  const url = `${herald.url}${urlFor(path, operation, subject)}`;
  const token = async () =>
    (await herald.rest('POST', `/api/v1/notifications/${subject.notification_id}/stream-token/`)).body.stream_token;
  const leave = new AbortController();
  const { status, headers, body } = await fetch(`${url}?stream_token=${await token()}`, { signal: leave.signal });
  expect([status, headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
  let text = '';
  for await (const part of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += part;
    if (/^data: .*\n\n/m.test(text)) break;
  }
  leave.abort();
  expect(text).toMatch(/^event: status$/m);
  const data: unknown = JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? '');
  const { 'x-event-data': told } = operation.responses[200]?.content?.['text/event-stream'] ?? {};
  expect(faultOf(told ?? { not: {} }, data)).toBeNull();
});

test('every operation with a body has an example', () => {
  const without = operations.filter(
    ({ operation: { requestBody } }) => requestBody && !requestBody.content['application/json']?.example,
  );
  expect(without).toEqual([]);
});

test('each port serves its part of the document, to everybody', async () => {
  const served = async (door: 'gateway' | 'user' | 'template') => {
    const url = `${herald.urlOf(door)}/openapi.json`;
    const { status, body } = await herald.rest('GET', url, undefined, { authorization: undefined });
    expect(status).toBe(200);
    return Object.values(body.paths as object).flatMap((path: object) =>
      Object.values(path).map(({ operationId }: { operationId: string }) => operationId),
    );
  };
  for (const door of ['gateway', 'user', 'template'] as const)
    expect((await served(door)).sort(), door).toEqual(
      [...operations, ...streams]
        .filter(({ operation }) => doorsOf(operation).includes(door))
        .map(({ operation }) => operation.operationId)
        .sort(),
    );
});

const executablePath = inject('chromium');

test.skipIf(executablePath === null)('the page at /docs shows them in a browser, from this server alone', async () => {
  const browser = await chromium.launch({
    executablePath: executablePath ?? '',
    args: ['--no-sandbox', '--disable-gpu'],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
    const wrong: string[] = [];
    page.on('pageerror', (error) => wrong.push(error.message));
    page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()));
    page.on('request', (request) => request.url().startsWith('data:') || wrong.push(...foreign(request.url())));
    for (const door of ['gateway', 'user', 'template'] as const) {
      await page.goto(`${herald.urlOf(door)}/docs`);
      const count = [...operations, ...streams].filter(({ operation }) => doorsOf(operation).includes(door)).length;
      await page.waitForFunction((wanted) => document.querySelectorAll('.opblock').length === wanted, count);
    }
    expect(wrong).toEqual([]);
  } finally {
    await browser.close();
  }
});

const foreign = (url: string) => (new URL(url).hostname === '127.0.0.1' ? [] : [url]);

declare const document: { querySelectorAll(selector: string): { length: number } };
