import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { noTracer } from '../platform/tracing.ts';
import { SuppressDocument } from '../client/generated/operations.ts';
import { createEmbeddedCache } from '../platform/cache/embedded.ts';
import { createPool, type Pool } from '../platform/postgres.ts';
import { createServiceClient, type ServiceClient } from '../platform/service-client.ts';
import type { GuardedProvider } from '../workers/breaker.ts';
import { createClaims, type Claims } from '../workers/claims.ts';
import { deliver } from '../workers/deliver.ts';
import { createPreferencesReader } from '../workers/preferences.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';

/** A provider whose circuit is tried with one message lets the others wait as long as that one takes. Much can happen meanwhile. */

const log = createTestLogger('email-worker');
let herald: Herald;
let pool: Pool;
let claims: Claims;
let users: ServiceClient;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  pool = createPool(herald.databaseUrl('worker'), { max: 2, log });
  claims = createClaims('email', pool, 30);
  users = createServiceClient({
    url: herald.urlOf('user'),
    callee: 'user',
    caller: 'email-worker',
    secret: herald.secrets.user,
    timeoutMs: 2_000,
  });
  template = await givenTemplate(herald);
});
afterAll(async () => {
  await users?.stop();
  await pool?.end();
  await herald?.stop();
});

/** Delivers a mail whose provider has time for it only after `meanwhile` and `lateMs`. */
async function deliverLate(
  meanwhile: (mail: { id: string; user: string; email: string; stopping: AbortController }) => Promise<unknown>,
  { fields = {}, lateMs = 0 }: { fields?: object; lateMs?: number } = {},
) {
  const email = `${randomUUID()}@example.com`;
  const user = await givenUser(herald, { email });
  const id = await givenSent(herald, user, template, fields);
  const claim = await claims.claim(id);
  if (typeof claim === 'string') throw new Error(`${id} could not be claimed: ${claim}`);
  const gaveUp: true[] = [];
  const sent: unknown[] = [];
  const stopping = new AbortController();
  const provider: GuardedProvider = {
    name: 'late',
    takes: ['email'],
    isAvailable: () => true,
    state: () => ({ state: 'closed', reason: null }),
    async admit() {
      const since = performance.now();
      await meanwhile({ id, user, email, stopping });
      await until(() => performance.now() - since > lateMs);
      return { giveUp: () => void gaveUp.push(true) };
    },
    async send(message) {
      sent.push(message);
      return { class: 'accepted' };
    },
    onChange: () => {},
    check: async () => {},
    stop: async () => {},
  };
  const outcome = await deliver(claim, {
    claims,
    preferences: createPreferencesReader({ cache: createEmbeddedCache(), prefix: '', users, log }),
    providers: [provider],
    providerTimeoutMs: 1_000,
    tracer: noTracer,
    signal: stopping.signal,
    log,
  });
  const attempts = await herald.sql('notification', 'SELECT number FROM attempt WHERE notification_id = $1', [id]);
  return { outcome, sent, gaveUp: gaveUp.length, attempts: attempts.length };
}

const suppress = (input: object) =>
  herald.graphql(SuppressDocument, { input: { notificationType: 'EMAIL', reason: 'asked to stop', ...input } });
const prefer = (user: string, preferences: object) =>
  herald.rest('PUT', `${herald.urlOf('user')}/api/v1/users/${user}/preferences`, preferences);

/** Longer than what was asked of others holds. */
const LONG = { lateMs: 1_100 };

test.each<[string, string, Parameters<typeof deliverLate>[0], Parameters<typeof deliverLate>[1]]>([
  [
    'its deadline passes',
    'EXPIRED',
    ({ id }) => herald.sql('notification', 'UPDATE notification SET expires_at = now() WHERE id = $1', [id]),
    {},
  ],
  ['its user is suppressed', 'SUPPRESSED', ({ user }) => suppress({ userId: user }), {}],
  ['its address is suppressed', 'SUPPRESSED', ({ email }) => suppress({ address: email }), LONG],
  [
    'its user switches e-mail off',
    'PREFERENCE_DISABLED',
    ({ user }) => prefer(user, { email: false, push: true }),
    LONG,
  ],
  [
    'its content is erased',
    'the content was erased',
    ({ id }) => herald.sql('notification', 'DELETE FROM content WHERE notification_id = $1', [id]),
    {},
  ],
])('a mail that waits for its provider while %s is not sent', async (_, reason, meanwhile, options) => {
  expect(await deliverLate(meanwhile, options)).toEqual({
    outcome: expect.objectContaining({ class: 'permanent', reason, hasAttempt: false }),
    sent: [],
    gaveUp: 1,
    attempts: 0,
  });
});

test('a mail that waits for its provider while the worker stops is not sent, and loses no try', async () => {
  expect(await deliverLate(async ({ stopping }) => stopping.abort())).toEqual({
    outcome: expect.objectContaining({ class: 'not_sent', reason: 'the worker stops', hasAttempt: false }),
    sent: [],
    gaveUp: 1,
    attempts: 0,
  });
});

test('a mail that waits for its provider while nothing happens is sent', async () => {
  expect(await deliverLate(async () => {}, LONG)).toMatchObject({
    outcome: { class: 'accepted' },
    sent: [{ type: 'email' }],
    gaveUp: 0,
    attempts: 1,
  });
});
