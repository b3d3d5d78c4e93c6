import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';

const executablePath = inject('chromium');
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'];

describe.skipIf(executablePath === null)('GraphiQL in a browser', { timeout: 60_000 }, () => {
  let herald: Herald;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    // Apollo hides the schema there unless it is told otherwise.
    vi.stubEnv('NODE_ENV', 'production');
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
    browser = await chromium.launch({ executablePath: executablePath ?? '', args: [...QUIET, '--disable-sync'] });
    page = await browser.newPage();
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('requestfailed', (request) => complaints.push(`${request.method()} ${request.url()}`));
  });
  afterAll(async () => {
    await browser?.close();
    await herald?.stop();
    vi.unstubAllEnvs();
  });

  test('takes the key out of the address, runs a query with it, and shows the answer and the schema', async () => {
    const user = await givenUser(herald, { name: 'Ada of the browser' });
    await page.goto(`${herald.url}/graphql#key=${herald.adminApiKey}`);
    const query = page.getByRole('region', { name: 'Operation Editor' });
    await query.locator('.view-lines').click();
    expect(page.url()).toBe(`${herald.url}/graphql`);

    await page.keyboard.press('Control+A');
    await page.keyboard.insertText(`{ user(id: "${user}") { name } }`);
    // What the editor closed by itself.
    await page.keyboard.press('Control+Shift+End');
    await page.keyboard.press('Delete');
    await page.keyboard.press('Control+Enter');
    await page.getByRole('region', { name: 'Result Window' }).getByText('Ada of the browser').waitFor();

    await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
    await page.getByRole('link', { name: 'Mutation' }).click();
    await page.getByRole('link', { name: 'sendNotifications' }).waitFor();
    expect(complaints).toEqual([]);
  });
});
