import { afterEach, expect, test } from 'vitest';
import type { Env } from '../../platform/env.ts';
import { PROVIDERS } from '../../contracts/providers.ts';
import { adapters } from '../../workers/adapters.ts';
import { createProviders } from '../../workers/providers.ts';
import { createTestLogger } from '../test-log.ts';

const OPTIONS = {
  timeoutMs: 100,
  concurrency: 1,
  breaker: { errorPercent: 50, minSends: 10, windowMs: 1_000, resetMs: 1_000 },
  log: createTestLogger('email-worker'),
};
const GMAIL = {
  GMAIL_USER: 'a@example.com',
  GMAIL_CLIENT_ID: 'c',
  GMAIL_CLIENT_SECRET: 's',
  GMAIL_REFRESH_TOKEN: 'r',
};

/** How a chain of this one provider stands right after it was made. */
async function stateOf(name: string, env: Env) {
  const providers = createProviders([name], env, OPTIONS);
  const state = providers.chain[0]?.state();
  await providers.stop();
  return state;
}

test.each<[string, Env, string]>([
  ['smtp', { SMTP_URL: 'smtp://u:100%@h' }, 'SMTP_URL is wrong: must have its user and password percent-encoded'],
  ['smtp', { SMTP_URL: 'smtp://100%:p@h' }, 'SMTP_URL is wrong: must have its user and password percent-encoded'],
  ['sendgrid', { SENDGRID_API_KEY: 'SG.schlüssel' }, 'SENDGRID_API_KEY is wrong: must be printable ASCII'],
  ['sendgrid', { SENDGRID_API_KEY: 'SG.two\nlines' }, 'SENDGRID_API_KEY is wrong: must be printable ASCII'],
  ['mailgun', { MAILGUN_API_KEY: 'key x', MAILGUN_DOMAIN: 'd' }, 'MAILGUN_API_KEY is wrong: must be printable ASCII'],
  [
    'onesignal',
    { ONESIGNAL_API_KEY: 'os\0v2', ONESIGNAL_APP_ID: 'a' },
    'ONESIGNAL_API_KEY is wrong: must be printable ASCII',
  ],
  [
    'gmail',
    { ...GMAIL, GMAIL_SMTP_URL: 'smtp://mail.example.com' },
    'GMAIL_SMTP_URL is wrong: must be an smtps:// URL',
  ],
])('%s with %o is paused, and says what to mend', async (name, env, reason) => {
  expect(await stateOf(name, env)).toEqual({ state: 'paused', reason: expect.stringContaining(reason) });
});

test.each<[string, Env]>([
  ['smtp', { SMTP_URL: 'smtp://u:100%25@127.0.0.1:1' }],
  ['sendgrid', { SENDGRID_API_KEY: ' SG.key\n', SENDGRID_BASE_URL: 'http://127.0.0.1:1' }],
  ['gmail', { ...GMAIL, GMAIL_SMTP_URL: 'smtp://localhost:1', GMAIL_TOKEN_URL: 'http://127.0.0.1:1' }],
])('%s with %o is used', async (name, env) => {
  expect(await stateOf(name, env)).toEqual({ state: 'closed', reason: null });
});

test('are those that are counted from the start', () => {
  const named = Object.entries(PROVIDERS).flatMap(([type, names]) => names.map((name) => [name, type]));
  expect(Object.fromEntries(Object.entries(adapters).map(([name, { type }]) => [name, type]))).toEqual(
    Object.fromEntries(named),
  );
});

afterEach(() => void delete adapters['broken']);

test('a provider that throws as it is set up is paused, and its words are not told', async () => {
  adapters['broken'] = {
    type: 'email',
    takes: ['email'],
    create() {
      throw new URIError('malformed: hunter2');
    },
  };
  const state = await stateOf('broken', {});
  expect(state).toEqual({ state: 'paused', reason: expect.stringMatching(/^broken could not be set up .*URIError/) });
  expect(state?.reason).not.toContain('hunter2');
});
