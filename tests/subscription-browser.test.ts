import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { CreateStreamTokenDocument } from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';

const executablePath = inject('chromium');
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'];

describe.skipIf(executablePath === null)('live status in a browser', { timeout: 60_000 }, () => {
  let herald: Herald;
  let browser: Browser;
  let page: Page;
  let user: string;
  let template: string;
  const complaints: string[] = [];

  beforeAll(async () => {
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
    [user, template] = [await givenUser(herald), await givenTemplate(herald)];
    browser = await chromium.launch({ executablePath: executablePath ?? '', args: [...QUIET, '--disable-sync'] });
    page = await browser.newPage({ viewport: { width: 360, height: 740 } });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  });
  afterAll(async () => {
    await browser?.close();
    await herald?.stop();
  });
  const report = (id: string, status = 'delivered') =>
    herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status });

  test('the page shows what happens, with its cursor, at 360 px', async () => {
    await page.goto(`${herald.url}/live#key=${herald.adminApiKey}`);
    await page.getByRole('status').getByText('live', { exact: true }).waitFor();
    expect(page.url()).toBe(`${herald.url}/live`);
    const id = await givenSent(herald, user, template);
    await page.getByRole('listitem').getByText('PENDING').waitFor();
    await report(id);
    const newest = page.getByRole('listitem').first();
    await newest.getByText('DELIVERED').waitFor();
    expect(await newest.textContent()).toContain('Ada Lovelace');
    expect(await page.locator('#cursor').textContent()).toMatch(/^[\w-]{50,}$/);
    const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
    expect(overflow).toBeLessThanOrEqual(0);
    expect(complaints).toEqual([]);
  });

  test('the page comes back by itself, and has what it missed, once', async () => {
    const seen = await page.getByRole('listitem').count();
    await herald.stopPart('gateway');
    await page.getByRole('status').getByText('next try').waitFor();
    const missed = await herald.sql('notification', 'SELECT count(*)::integer AS count FROM feed');
    await herald.startPart('gateway');
    const id = await givenSent(herald, user, template);
    await page.getByRole('status').getByText('live', { exact: true }).waitFor({ timeout: 30_000 });
    await page.getByRole('listitem').getByText(id).waitFor();
    expect(missed[0]?.['count']).toBeGreaterThan(0);
    expect(await page.getByRole('listitem').count()).toBe(seen + 1);
    await page.getByRole('button', { name: id }).click();
    await page.getByRole('listitem').getByText('PENDING').waitFor();
    expect(await page.getByRole('listitem').count()).toBe(1);
    complaints.length = 0;
  });

  test('while the notification service is away the page waits as long as it is told', async () => {
    await herald.stopPart('notification');
    await herald.stopPart('gateway');
    await herald.startPart('gateway');
    // Refused with `retryAfterSeconds: 2`, to which comes what it waits by itself.
    await page
      .getByRole('status')
      .getByText(/next try in ([3-9]|\d\d) s/)
      .waitFor({ timeout: 30_000 });
    await herald.startPart('notification');
    await page.getByRole('button', { name: 'Watch' }).click();
    await page.getByRole('listitem').getByText('PENDING').waitFor();
    complaints.length = 0;
  });

  test('a wrong key is told, and not tried again', async () => {
    await page.getByLabel('API key or token').fill('wrong');
    await page.getByRole('button', { name: 'Watch' }).click();
    await page.getByRole('status').getByText('no valid credential').waitFor();
    complaints.length = 0;
  });

  test('EventSource, with a token for one notification, goes on by itself behind the last event', async () => {
    const id = await givenSent(herald, user, template);
    const { token } = (await herald.graphql(CreateStreamTokenDocument, { notificationId: id })).createStreamToken;
    await page.evaluate((path) => {
      const seen: object[] = [];
      const source = new EventSource(path);
      source.addEventListener('status', (event) => {
        const { data, lastEventId } = event as unknown as { data: string; lastEventId: string };
        seen.push({ ...(JSON.parse(data) as object), lastEventId });
      });
      Object.assign(globalThis, { seen, source });
    }, `/api/v1/notifications/${id}/events?stream_token=${token}`);
    const seen = (count: number) =>
      page
        .waitForFunction(
          (wanted) => {
            const { seen: all } = globalThis as unknown as { seen: object[] };
            return all.length >= wanted && all;
          },
          count,
          { timeout: 30_000 },
        )
        .then((handle) => handle.jsonValue() as Promise<Record<string, unknown>[]>);
    expect(await seen(1)).toMatchObject([
      { notification_id: id, status: 'pending', previous_status: null, attempt: 0 },
    ]);
    // The connection is lost, and the next one is the browser's own doing.
    await herald.stopPart('gateway');
    await herald.startPart('gateway');
    await report(id, 'failed');
    const all = await seen(2);
    expect(all).toMatchObject([{ status: 'pending' }, { status: 'failed', previous_status: 'pending' }]);
    expect(new Set(all.map(({ lastEventId }) => lastEventId)).size).toBe(2);
    await page.evaluate(() => (globalThis as unknown as { source: EventSource }).source.close());
  });
});
