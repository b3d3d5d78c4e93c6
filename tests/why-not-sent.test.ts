import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  CancelNotificationDocument,
  DiscardNotificationDocument,
  ReplayNotificationDocument,
  ReplayNotificationsDocument,
  SuppressDocument,
  UnsuppressDocument,
  WhyNotSentDocument,
  type WhyNotSentQuery,
} from '../client/generated/operations.ts';
import { toUserViewer } from '../contracts/scopes.ts';
import { askAs } from './as-viewer.ts';
import { begin, claim, expireLease, giveBack } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';
import { postSendgrid, sendgridBounce, webhookKeys } from './webhook-senders.ts';

const HOUR_MS = 3_600_000;
const MOMENT = /\d{4}-\d\d-\d\dT[\d:.]+Z/;

let herald: Herald;
let user: string;
let email: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'], webhookKeys });
  email = `${randomUUID()}@example.com`;
  [user, template] = await Promise.all([givenUser(herald, { email }), givenTemplate(herald)]);
});
afterAll(() => herald?.stop());
/** No worker runs here; but one is heard of. */
beforeEach(async () => {
  await sql('DELETE FROM provider_state');
  await note('closed', null);
});

const sql = (text: string, ...values: unknown[]) => herald.sql('notification', text, values);
const note = (state: string, reason: string | null, provider = 'smtp') =>
  herald.sql('worker', `SELECT note_provider('story', 'email', $1, $2, $3)`, [provider, state, reason]);
type Why = NonNullable<NonNullable<WhyNotSentQuery['notification']>['whyNotSent']>;
const why = async (id: string): Promise<Why | null> =>
  (await herald.graphql(WhyNotSentDocument, { id })).notification?.whyNotSent ?? null;
const report = (id: string, attempt: object | undefined, status: string, fields: object = {}) =>
  herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status, ...(attempt && { attempt }), ...fields });
const inHours = (hours: number) => new Date(Date.now() + hours * HOUR_MS).toISOString();
const queued = (id: string) =>
  until(async () => (await sql('SELECT FROM outbox WHERE notification_id = $1', id)).length === 0);

/** What an attempt of a new one came to. */
async function givenTried(outcome: string, reason: string | null, status: string, fields: object = {}) {
  const id = await givenSent(herald, user, template, fields);
  await report(id, { token: await begin(herald, id), class: outcome, ...(reason !== null && { reason }) }, status);
  return id;
}

describe('a pending notification waits', () => {
  test('for its sendAt', async () => {
    const sendAt = inHours(1);
    const id = await givenSent(herald, user, template, { send_at: sendAt });
    expect(await why(id)).toMatchObject({
      code: 'SCHEDULED',
      explanation: `It was asked for at ${sendAt}, and waits until then.`,
      until: sendAt,
      provider: null,
      said: null,
    });
  });

  test('in the queue', async () => {
    const id = await givenSent(herald, user, template);
    await queued(id);
    const told = await why(id);
    expect(told).toMatchObject({ code: 'IN_QUEUE', until: null, since: expect.stringMatching(MOMENT) });
    expect(told?.explanation).toContain(`in the email queue since ${told?.since}`);
  });

  test('for a worker, when none has been heard of', async () => {
    await sql(`UPDATE provider_state SET seen_at = now() - interval '2 minutes'`);
    const id = await givenSent(herald, user, template);
    expect(await why(id)).toMatchObject({
      code: 'NO_WORKER',
      explanation: expect.stringContaining('no email worker has been heard of for a minute'),
    });
  });

  test.each([
    ['paused', 'smtp is paused, because its configuration is wrong, since'],
    ['open', 'smtp is resting after failures since'],
  ])('for its provider, which is %s', async (state, words) => {
    await note(state, '535 who are you');
    const id = await givenSent(herald, user, template);
    const told = await why(id);
    expect(told).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', provider: 'smtp', said: '535 who are you' });
    expect(told?.explanation).toContain(words);
    expect(told?.explanation).toContain('(535 who are you)');
    // Another worker, whose circuit is closed, takes it.
    await herald.sql('worker', `SELECT note_provider('other', 'email', 'smtp', 'closed', NULL)`);
    await queued(id);
    expect((await why(id))?.code).toBe('IN_QUEUE');
    await sql(`DELETE FROM provider_state WHERE worker = 'other'`);
    expect((await why(id))?.code).toBe('PROVIDER_UNAVAILABLE');
    // Another one of the chain takes it.
    await note('closed', null, 'mailgun');
    expect((await why(id))?.code).toBe('IN_QUEUE');
  });

  test('for a worker that has it', async () => {
    const id = await givenSent(herald, user, template);
    await claim(herald, id);
    expect(await why(id)).toMatchObject({
      code: 'WITH_WORKER',
      explanation: expect.stringMatching(/^A worker has it since .*, and has not handed it to a provider yet\.$/),
      until: expect.stringMatching(MOMENT),
      provider: null,
    });
    const other = await givenSent(herald, user, template);
    await begin(herald, other);
    expect(await why(other)).toMatchObject({
      code: 'WITH_WORKER',
      explanation: expect.stringMatching(/^A worker is handing it to smtp since/),
      provider: 'smtp',
    });
  });

  test('for somebody to find that its worker is gone', async () => {
    const id = await givenSent(herald, user, template);
    await begin(herald, id);
    await expireLease(herald, id);
    expect(await why(id)).toMatchObject({
      code: 'WORKER_LOST',
      explanation: expect.stringContaining('nobody knows whether it arrived'),
      provider: 'smtp',
    });
  });

  test('for its next try, with what the provider said and the number of those that failed', async () => {
    const id = await givenSent(herald, user, template);
    for (const said of ['421 busy', '451 try later']) {
      const attempt = { token: await begin(herald, id), class: 'transient', reason: said, retry_after_seconds: 600 };
      await report(id, attempt, 'pending');
      if (said === '421 busy') await giveBack(herald, id);
    }
    const told = await why(id);
    expect(told).toMatchObject({
      code: 'RETRY_SCHEDULED',
      provider: 'smtp',
      said: '451 try later',
      until: expect.stringMatching(MOMENT),
    });
    expect(told?.explanation).toBe(
      `2 of its tries failed, the last with smtp: 451 try later. It is tried again at ${told?.until}.`,
    );
    expect(Date.parse(told?.until ?? '')).toBeGreaterThan(Date.now() + 500_000);
    // What holds it up first is what is told.
    await note('paused', '535 who are you');
    expect(await why(id)).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', until: told?.until });
  });

  test('for another go, when no try was used up', async () => {
    const id = await givenSent(herald, user, template);
    const token = await claim(herald, id);
    await report(id, { token, class: 'not_sent', reason: 'smtp is open: 421 busy' }, 'pending');
    const told = await why(id);
    expect(told).toMatchObject({ code: 'RETRY_SCHEDULED', said: 'smtp is open: 421 busy', provider: null });
    expect(told?.explanation).toMatch(/^It could not be handed over: smtp is open: 421 busy\. It is tried again at/);
  });

  test('after a worker gave it back', async () => {
    const id = await givenSent(herald, user, template);
    await herald.sql('worker', 'SELECT release_claims($1, $2, 60000)', [[id], [await claim(herald, id)]]);
    expect(await why(id)).toMatchObject({
      code: 'GIVEN_BACK',
      explanation: expect.stringContaining('could not tell whether, or where, the user may be written to'),
      until: expect.stringMatching(MOMENT),
    });
  });

  test('for its turn in a replay, and has forgotten the run before', async () => {
    const requestId = randomUUID();
    const id = await givenTried('permanent', '554 spam', 'failed', { request_id: requestId });
    const replay = { filter: { requestId }, perSecond: 1, reason: 'the list was wrong' };
    // The pace of the one before puts the next one off.
    await sql(
      `INSERT INTO replay_pace VALUES ('admin', now() + interval '1 hour') ON CONFLICT (viewer_id) DO UPDATE SET next_at = excluded.next_at`,
    );
    expect((await herald.graphql(ReplayNotificationsDocument, replay)).replayNotifications.replayed).toBe(1);
    expect(await why(id)).toMatchObject({
      code: 'REPLAY_SCHEDULED',
      explanation: expect.stringMatching(/^It is sent again by admin, .* the list was wrong\.$/),
      said: 'the list was wrong',
      provider: null,
    });
    await sql('DELETE FROM replay_pace');
  });
});

describe('a failed notification says why', () => {
  test('the channel was off', async () => {
    const id = await givenSent(herald, user, template);
    await report(id, { token: await claim(herald, id), class: 'permanent', reason: 'PREFERENCE_DISABLED' }, 'failed');
    const told = await why(id);
    expect(told).toMatchObject({ code: 'PREFERENCE_DISABLED', said: null, until: null });
    expect(told?.explanation).toBe(`The user had switched e-mails off, a worker found at ${told?.since}.`);
  });

  test('somebody suppressed the user or the address, or has lifted that since', async () => {
    for (const entry of [{ userId: user }, { address: email }, { userId: user, templateCode: template }]) {
      const input = { notificationType: 'EMAIL' as const, reason: 'asked by phone', ...entry };
      const { id: suppression } = (await herald.graphql(SuppressDocument, { input })).suppress;
      const id = await givenSent(herald, user, template);
      await report(id, { token: await claim(herald, id), class: 'permanent', reason: 'SUPPRESSED' }, 'failed');
      expect(await why(id)).toMatchObject({
        code: 'SUPPRESSED',
        explanation: expect.stringMatching(/: suppressed by admin at .*, asked by phone\.$/),
        said: 'asked by phone',
      });
      await herald.graphql(UnsuppressDocument, { id: suppression });
      expect((await why(id))?.explanation).toMatch(/has been lifted since\.$/);
    }
  });

  test.each([
    ['permanent', '554 this is spam', 'REJECTED', /^smtp refused it for good at .*: 554 this is spam\.$/],
    ['address_dead', '550 no such user', 'ADDRESS_DEAD', /^The address is dead, said smtp at .*: 550 no such user\.$/],
  ])('the provider said %s: %s', async (outcome, said, code, words) => {
    const id = await givenTried(outcome, said, 'failed');
    const told = await why(id);
    expect(told).toMatchObject({ code, said, provider: 'smtp', until: null });
    expect(told?.explanation).toMatch(words);
    await sql('DELETE FROM suppression');
  });

  test('nobody knows whether it arrived', async () => {
    const id = await givenTried('unknown', 'the connection was reset', 'failed', { on_ambiguous: 'fail' });
    expect(await why(id)).toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      explanation: expect.stringMatching(
        /^Nobody knows whether it arrived: smtp gave no clear answer.*connection was reset\.$/,
      ),
      provider: 'smtp',
    });
  });

  test('its retries are used up', async () => {
    const id = await givenTried('transient', '451 one', 'pending');
    await giveBack(herald, id);
    await sql(`UPDATE notification SET failing_since = now() - interval '2 days' WHERE id = $1`, id);
    await report(id, { token: await begin(herald, id), class: 'transient', reason: '451 two' }, 'pending');
    expect(await why(id)).toMatchObject({
      code: 'RETRIES_EXHAUSTED',
      explanation: expect.stringMatching(/^Every try failed, 2 in all; the last was with smtp at .*: 451 two\.$/),
      said: '451 two',
    });
  });

  test('its deadline passed', async () => {
    const expiresAt = inHours(1);
    const id = await givenSent(herald, user, template, { expires_at: expiresAt });
    await report(id, { token: await claim(herald, id), class: 'permanent', reason: 'EXPIRED' }, 'failed');
    expect(await why(id)).toMatchObject({
      code: 'EXPIRED',
      explanation: `Its expiresAt passed first (${expiresAt}); nothing had been tried.`,
    });
  });

  test('somebody cancelled it, or discarded it', async () => {
    const id = await givenSent(herald, user, template);
    await herald.graphql(CancelNotificationDocument, { id, reason: 'wrong customer' });
    expect(await why(id)).toMatchObject({
      code: 'CANCELLED',
      explanation: expect.stringMatching(/^It was cancelled by admin at .*: wrong customer\.$/),
      said: 'wrong customer',
    });
    await herald.graphql(DiscardNotificationDocument, { id, reason: 'seen' });
    expect(await why(id)).toMatchObject({
      code: 'DISCARDED',
      explanation: expect.stringMatching(/^It had failed, and was discarded by admin at .*: seen\.$/),
    });
  });

  test('it came back; and nothing once it is sent again and delivered', async () => {
    const id = await givenTried('accepted', null, 'delivered');
    expect(await why(id)).toBeNull();
    await postSendgrid(herald, [sendgridBounce({ email, notification_id: id })]);
    expect(await why(id)).toMatchObject({
      code: 'BOUNCED',
      explanation: expect.stringMatching(
        /^It came back from the recipient's side, said sendgrid at .*does not exist\.$/,
      ),
    });
    await sql('DELETE FROM suppression');
    await herald.graphql(ReplayNotificationDocument, { id });
    expect((await why(id))?.code).toMatch(/^IN_/);
    await report(id, { token: await begin(herald, id), class: 'accepted' }, 'delivered');
    expect(await why(id)).toBeNull();
  });

  test('a deleted user’s tells no provider’s words any more', async () => {
    const somebody = await givenUser(herald);
    const id = await givenSent(herald, somebody, template);
    await report(id, { token: await begin(herald, id), class: 'permanent', reason: '554 <ada@example.com>' }, 'failed');
    expect((await why(id))?.explanation).toContain('ada@example.com');
    await herald.rest('DELETE', `/api/v1/users/${somebody}`);
    await until(async () => (await why(id))?.said === null);
    expect((await why(id))?.explanation).toMatch(/^smtp refused it for good at [\d-]+T[\d:.]+Z\.$/);
  });
});

test('operators’ words are for operators: others learn that a provider is paused or a user suppressed, not why', async () => {
  await note('paused', '535 the key sk-123 is wrong');
  const waiting = await givenSent(herald, user, template);
  const input = { notificationType: 'EMAIL' as const, userId: user, reason: 'a lawyer wrote' };
  const { id: suppression } = (await herald.graphql(SuppressDocument, { input })).suppress;
  const suppressed = await givenSent(herald, user, template);
  await report(
    suppressed,
    { token: await claim(herald, suppressed), class: 'permanent', reason: 'SUPPRESSED' },
    'failed',
  );
  const told = await Promise.all(
    [waiting, suppressed].map((id) => askAs(herald, toUserViewer(user), WhyNotSentDocument, { id })),
  );
  expect(told.map(({ data }) => data?.notification?.whyNotSent?.code)).toEqual(['PROVIDER_UNAVAILABLE', 'SUPPRESSED']);
  expect(JSON.stringify(told)).not.toMatch(/sk-123|lawyer|admin/);
  await herald.graphql(UnsuppressDocument, { id: suppression });
});

test('a page of notifications costs one statement for all of it, and each is told its own', async () => {
  const somebody = await givenUser(herald);
  const ids: string[] = [];
  for (let count = 0; count < 12; count += 1) {
    const fields = count % 3 === 0 ? { send_at: inHours(count + 1) } : {};
    ids.push(await givenSent(herald, somebody, template, fields));
  }
  await report(ids[1] ?? '', undefined, 'delivered');
  await report(ids[2] ?? '', undefined, 'failed', { error: 'no stamp' });
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  const query = `query ($filter: NotificationFilter) {
    notifications(filter: $filter, first: 200) { edges { node { id status whyNotSent { code until said } } } }
  }`;
  const { body } = await herald.rest('POST', '/graphql', { query, variables: { filter: { userId: somebody } } });
  const asked = spy.mock.calls.filter(([text]: unknown[]) => JSON.stringify(text).includes('find-whereabouts'));
  spy.mockRestore();
  const nodes: { id: string; whyNotSent: { code: string; until: string; said: string } | null }[] =
    body.data.notifications.edges.map(({ node }: { node: unknown }) => node);
  const found = new Map(nodes.map(({ id, whyNotSent }) => [id, whyNotSent]));
  expect(nodes).toHaveLength(12);
  expect(found.get(ids[1] ?? '')).toBeNull();
  expect(found.get(ids[2] ?? '')).toMatchObject({ code: 'REJECTED', said: 'no stamp' });
  for (const [place, id] of ids.entries())
    if (place % 3 === 0)
      expect(found.get(id)).toMatchObject({ code: 'SCHEDULED', until: expect.stringMatching(MOMENT) });
  expect(asked).toHaveLength(1);
});
