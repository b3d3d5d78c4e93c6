import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { startHerald, type Herald } from '../start.ts';
import { operations, unfitOf } from './document.ts';
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
  });
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
      operations
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
      const count = operations.filter(({ operation }) => doorsOf(operation).includes(door)).length;
      await page.waitForFunction((wanted) => document.querySelectorAll('.opblock').length === wanted, count);
    }
    expect(wrong).toEqual([]);
  } finally {
    await browser.close();
  }
});

const foreign = (url: string) => (new URL(url).hostname === '127.0.0.1' ? [] : [url]);

declare const document: { querySelectorAll(selector: string): { length: number } };
