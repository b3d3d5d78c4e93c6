import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AddPushTokenDocument,
  ExplainSendDocument,
  SetPreferencesDocument,
  SuppressDocument,
  UnsuppressDocument,
  UpdateUserDocument,
  type ExplainSendQuery,
  type SendNotificationInput,
  type SuppressInput,
} from '../client/generated/operations.ts';
import { toUserViewer } from '../contracts/scopes.ts';
import { askAs, toClient } from './as-viewer.ts';
import { givenTemplate, givenUser, mailsOf } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

type Explanation = ExplainSendQuery['explainSend'];
type Send = SendNotificationInput;

const HOUR_MS = 3_600_000;
const CHECKS = [
  'REQUEST_ID',
  'SCHEDULE',
  'USER',
  'TEMPLATE',
  'CONTENT',
  'VARIABLES',
  'SUPPRESSION',
  'PREFERENCE',
  'ADDRESS',
  'PROVIDER',
  'QUEUE',
];

let herald: Herald;
let template: string;
beforeAll(async () => {
  herald = await startHerald();
  template = await givenTemplate(herald);
  await until(async () => (await sql('SELECT FROM provider_state')).length === 2);
});
afterAll(() => herald?.stop());

const sql = (text: string, ...values: unknown[]) => herald.sql('notification', text, values);
const input = (userId: string, fields: Partial<Send> = {}): Send => ({
  notificationType: 'EMAIL',
  userId,
  templateCode: template,
  variables: { name: 'Ada' },
  requestId: randomUUID(),
  ...fields,
});
const explain = async (send: Send): Promise<Explanation> =>
  (await herald.graphql(ExplainSendDocument, { input: send })).explainSend;
/** The checks that did not pass. */
const hindrances = ({ checks }: Explanation) =>
  Object.fromEntries(checks.filter(({ result }) => result !== 'PASS').map(({ check, result }) => [check, result]));
const detailOf = ({ checks }: Explanation, name: string) => checks.find(({ check }) => check === name)?.detail;

async function givenPerson(fields: object = {}) {
  const email = `${randomUUID()}@example.com`;
  return { user: await givenUser(herald, { name: 'Ada Lovelace', email, ...fields }), email };
}
const suppress = async (fields: Omit<SuppressInput, 'reason'>) =>
  (await herald.graphql(SuppressDocument, { input: { ...fields, reason: 'asked by phone' } })).suppress;
/** Sends what was explained. @returns what became of it */
async function outcomeOf(send: Send) {
  const { body } = await herald.rest('POST', '/graphql', {
    query: 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { notification { id } } }',
    variables: { input: send },
  });
  const id: string = body.data.sendNotification.notification.id;
  return until(async () => {
    const [row] = await sql('SELECT id, status, reason, locale, template_version FROM notification WHERE id = $1', id);
    return row?.['status'] !== 'pending' && row;
  });
}

/** While no worker of the channel runs, and none is heard of. */
async function without(part: 'email' | 'push', work: () => Promise<void>): Promise<void> {
  await herald.stopPart(part);
  await sql('DELETE FROM provider_state WHERE type = $1', part);
  try {
    await work();
  } finally {
    await sql('DELETE FROM provider_state WHERE type = $1', part);
    await herald.startPart(part);
    await until(async () => (await sql('SELECT FROM provider_state WHERE type = $1', part)).length > 0);
  }
}

describe('explaining a send', () => {
  test('tells all of one that would go out: check by check, the message, the language, the provider', async () => {
    const { user, email } = await givenPerson();
    const send = input(user);
    const explanation = await explain(send);
    expect(explanation).toMatchObject({
      verdict: 'WOULD_SEND',
      reason: `It would go out at once, to ${email}, by smtp.`,
      failureReason: null,
      refusal: null,
      notification: null,
      locale: 'en',
      localeSource: 'TEMPLATE_DEFAULT',
      templateVersion: 1,
      message: { email: { subject: 'Hello Ada', html: '<p>Hello Ada</p>', text: 'Hello Ada' }, push: null },
      missingVariables: [],
      targets: [{ target: email, kind: 'email', state: 'REACHABLE', detail: null, provider: 'smtp' }],
      providers: [{ name: 'smtp', state: 'CLOSED', reason: null }],
      expiresAt: null,
    });
    expect(explanation.checks.map(({ check }) => check)).toEqual(CHECKS);
    expect(hindrances(explanation)).toEqual({});
    expect(Math.abs(Date.parse(explanation.dueAt ?? '') - Date.now())).toBeLessThan(10_000);
    const sent = await outcomeOf(send);
    expect(sent).toMatchObject({ status: 'delivered', locale: 'en', template_version: 1 });
    expect(await mailsOf(herald, sent['id'])).toMatchObject([{ Subject: 'Hello Ada', To: [{ Address: email }] }]);
  });

  test('of a push message goes through every device', async () => {
    const { user } = await givenPerson({ push_token: 'device-1' });
    const second = await herald.graphql(AddPushTokenDocument, { userId: user, token: randomUUID() });
    const send = input(user, { notificationType: 'PUSH' });
    await suppress({ notificationType: 'PUSH', address: 'device-1' });
    expect(await explain(send)).toMatchObject({
      verdict: 'WOULD_SEND',
      reason: 'It would go out at once, to 1 device, by sandbox.',
      message: { email: null, push: { title: 'Hello Ada', body: 'A message' } },
    });
    await sql('INSERT INTO dead_token (token_id, user_id) VALUES ($1, $2)', second.addPushToken.id, user);
    const dead = await explain(send);
    expect(dead.targets.toSorted((a, b) => (a.kind < b.kind ? -1 : 1))).toMatchObject([
      {
        kind: 'fcm',
        state: 'SUPPRESSED',
        detail: expect.stringMatching(/^suppressed by admin at .*, asked by phone$/),
      },
      { kind: 'onesignal', state: 'DEAD', target: second.addPushToken.id, provider: null },
    ]);
    expect(dead).toMatchObject({ verdict: 'WOULD_FAIL', failureReason: 'SUPPRESSED' });
    expect(detailOf(dead, 'ADDRESS')).toBe('0 of 2 devices can be reached.');
    // A device that the user service knows to be dead is told too, though nothing would go there.
    await herald.sql('user', `UPDATE push_token SET dead_at = now() WHERE id = $1`, [second.addPushToken.id]);
    expect((await explain(send)).targets).toHaveLength(2);
    expect(await outcomeOf(send)).toMatchObject({ status: 'failed', reason: 'SUPPRESSED' });
  });

  type Situation = { user: string; email: string };
  test.each<[string, (person: Situation) => Promise<unknown>, Partial<Send>, string, string, RegExp]>([
    [
      'the channel is switched off',
      ({ user }) => herald.graphql(SetPreferencesDocument, { userId: user, preferences: { email: false, push: true } }),
      {},
      'PREFERENCE_DISABLED',
      'PREFERENCE',
      /switched e-mails off/,
    ],
    [
      'the user is suppressed',
      ({ user }) => suppress({ notificationType: 'EMAIL', userId: user }),
      {},
      'SUPPRESSED',
      'SUPPRESSION',
      /suppressed by admin at .*, asked by phone/,
    ],
    [
      'the user is suppressed for the template',
      ({ user }) => suppress({ notificationType: 'EMAIL', userId: user, templateCode: template }),
      {},
      'SUPPRESSED',
      'SUPPRESSION',
      /asked by phone/,
    ],
    [
      'the address is suppressed, however it is spelled',
      ({ email }) => suppress({ notificationType: 'EMAIL', address: email.toUpperCase() }),
      {},
      'SUPPRESSED',
      'ADDRESS',
      /^Nothing is sent to .*asked by phone/,
    ],
    [
      'the only device is dead',
      async ({ user }) => {
        const [token] = await herald.sql('user', 'SELECT id FROM push_token WHERE user_id = $1', [user]);
        await sql('INSERT INTO dead_token (token_id, user_id) VALUES ($1, $2)', token?.['id'], user);
      },
      { notificationType: 'PUSH' },
      'ADDRESS_DEAD',
      'ADDRESS',
      /0 of 1 device/,
    ],
  ])('foresees that it fails when %s', async (_, arrange, fields, failureReason, check, words) => {
    const person = await givenPerson();
    await arrange(person);
    const send = input(person.user, fields);
    const explanation = await explain(send);
    expect(explanation).toMatchObject({ verdict: 'WOULD_FAIL', failureReason, reason: detailOf(explanation, check) });
    expect(explanation.reason).toMatch(words);
    expect(hindrances(explanation)).toMatchObject({ [check]: 'FAIL' });
    expect(explanation.message).not.toBeNull();
    expect(await outcomeOf(send)).toMatchObject({ status: 'failed', reason: failureReason });
  });

  test('a suppression of another template, channel or user, or one that was lifted, is none', async () => {
    const [{ user }, other] = [await givenPerson(), await givenPerson()];
    await suppress({ notificationType: 'EMAIL', userId: user, templateCode: 'another' });
    await suppress({ notificationType: 'PUSH', userId: user });
    await suppress({ notificationType: 'EMAIL', userId: other.user });
    const { id } = await suppress({ notificationType: 'EMAIL', userId: user });
    await herald.graphql(UnsuppressDocument, { id });
    expect((await explain(input(user))).verdict).toBe('WOULD_SEND');
  });

  test('the language and why it is that one', async () => {
    const german = await givenTemplate(herald, { locale: 'de' });
    const { user } = await givenPerson();
    const read = async (locale: string | null, asked?: string) => {
      await herald.graphql(UpdateUserDocument, { id: user, input: { locale } });
      const { locale: chosen, localeSource } = await explain(input(user, { templateCode: german, locale: asked }));
      return [chosen, localeSource];
    };
    expect(await read(null, 'de')).toEqual(['de', 'ASKED']);
    expect(await read('fr', 'de-AT')).toEqual(['de', 'ASKED_LANGUAGE']);
    expect(await read('de')).toEqual(['de', 'USER']);
    expect(await read('de-CH', 'fr')).toEqual(['de', 'USER_LANGUAGE']);
    expect(await read('fr', 'it')).toEqual(['de', 'TEMPLATE_DEFAULT']);
  });

  test('one for later waits, and says until when', async () => {
    const { user } = await givenPerson();
    const [sendAt, expiresAt] = [1, 2].map((hours) => new Date(Date.now() + hours * HOUR_MS).toISOString());
    const explanation = await explain(input(user, { sendAt, expiresAt }));
    expect(explanation).toMatchObject({ verdict: 'WOULD_WAIT', dueAt: sendAt, expiresAt });
    expect(explanation.reason).toContain(sendAt);
    expect(hindrances(explanation)).toEqual({ SCHEDULE: 'WAIT' });
  });

  test('a known requestId is answered with its notification; with other content it is a conflict', async () => {
    const { user } = await givenPerson();
    const send = input(user);
    const { id } = await outcomeOf(send);
    const known = await explain(send);
    expect(known).toMatchObject({ verdict: 'ALREADY_ACCEPTED', notification: { id, status: 'DELIVERED' } });
    expect(hindrances(known)).toMatchObject({ REQUEST_ID: 'FAIL', PREFERENCE: 'SKIPPED' });
    const other = await explain({ ...send, variables: { name: 'Bob' } });
    expect(other).toMatchObject({
      verdict: 'WOULD_BE_REFUSED',
      notification: null,
      refusal: { code: 'CONFLICT', field: 'requestId', errors: [{ code: 'REQUEST_ID_REUSED' }] },
    });
  });

  test('every missing variable is told, and what else would stand in the way', async () => {
    const needy = await givenTemplate(herald, {
      email: { subject: '{{ name }}', html: '<p>{{ order }} {{ name }}</p>', text: null },
    });
    const { user } = await givenPerson();
    await herald.graphql(SetPreferencesDocument, { userId: user, preferences: { email: false, push: true } });
    const explanation = await explain(input(user, { templateCode: needy, variables: {} }));
    expect(explanation).toMatchObject({
      verdict: 'WOULD_BE_REFUSED',
      message: null,
      dueAt: null,
      templateVersion: 1,
      refusal: {
        code: 'UNPROCESSABLE',
        errors: expect.arrayContaining([
          { field: 'variables.name', code: 'MISSING_VARIABLE', message: expect.any(String) },
        ]),
      },
    });
    expect(explanation.missingVariables.toSorted()).toEqual(['name', 'order']);
    expect(hindrances(explanation)).toEqual({ VARIABLES: 'FAIL', PREFERENCE: 'FAIL' });
  });

  test('a user without an address still sees the message that would be', async () => {
    const { user } = await givenPerson({ push_token: null });
    const explanation = await explain(input(user, { notificationType: 'PUSH' }));
    expect(explanation).toMatchObject({
      verdict: 'WOULD_BE_REFUSED',
      refusal: { code: 'UNPROCESSABLE', field: 'userId', errors: [{ code: 'NO_ADDRESS' }] },
      message: { push: { title: 'Hello Ada' } },
      targets: [],
    });
    expect(hindrances(explanation)).toEqual({ ADDRESS: 'FAIL', PROVIDER: 'SKIPPED' });
  });

  test('a deleted user is unknown, whoever still remembers them', async () => {
    const { user } = await givenPerson();
    await sql('INSERT INTO erased_user (user_id) VALUES ($1)', user);
    expect(await explain(input(user))).toMatchObject({
      verdict: 'WOULD_BE_REFUSED',
      refusal: { code: 'NOT_FOUND', field: 'userId' },
      targets: [],
    });
  });

  test('the link of an unsubscribable mail is a dummy: nobody unsubscribes from a preview', async () => {
    const news = await givenTemplate(herald, {
      unsubscribable: true,
      email: { subject: 's', html: '<a href="{{ unsubscribe_url }}">stop</a>', text: null },
    });
    const { user } = await givenPerson();
    const { message } = await explain(input(user, { templateCode: news }));
    const [, token = ''] = /\/unsubscribe\/([^"]+)"/.exec(message?.email?.html ?? '') ?? [];
    expect(token).toMatch(/^x+$/);
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await herald.rest('POST', `${herald.url}/unsubscribe/${token}`, '', form)).status).toBe(404);
  });

  test('a provider that takes nothing now is waited for; with another in the chain it is not', async () => {
    const { user } = await givenPerson();
    await without('email', async () => {
      const note = (name: string, state: string, place: number) =>
        herald.sql('worker', `SELECT note_provider('email-story', 'email', $1, $2, '421 try later', $3)`, [
          name,
          state,
          place,
        ]);
      for (const [state, words] of [
        ['open', 'smtp is resting after failures since'],
        ['paused', 'smtp is paused, because its configuration is wrong, since'],
      ] as const) {
        await note('smtp', state, 0);
        const waiting = await explain(input(user));
        expect(waiting).toMatchObject({ verdict: 'WOULD_WAIT', targets: [{ state: 'REACHABLE', provider: null }] });
        expect(waiting.reason).toContain(words);
        expect(waiting.reason).toContain('421 try later');
        expect(hindrances(waiting)).toEqual({ PROVIDER: 'WAIT' });
      }
      // Another worker's circuit is closed.
      await herald.sql('worker', `SELECT note_provider('other', 'email', 'smtp', 'closed', NULL)`);
      const some = await explain(input(user));
      expect(some).toMatchObject({ verdict: 'WOULD_SEND', targets: [{ provider: 'smtp' }] });
      expect(detailOf(some, 'PROVIDER')).toMatch(/421 try later\), but not for all workers\.$/);
      await sql(`DELETE FROM provider_state WHERE worker = 'other'`);
      // By name it would come first.
      await note('mailgun', 'closed', 1);
      const other = await explain(input(user));
      expect(other).toMatchObject({ verdict: 'WOULD_SEND', targets: [{ provider: 'mailgun' }] });
      expect(other.providers.map(({ name, state }) => [name, state])).toEqual([
        ['smtp', 'PAUSED'],
        ['mailgun', 'CLOSED'],
      ]);
      await sql(`UPDATE provider_state SET seen_at = now() - interval '2 minutes' WHERE type = 'email'`);
      const nobody = await explain(input(user));
      expect(nobody).toMatchObject({ verdict: 'WOULD_WAIT', providers: [] });
      expect(nobody.reason).toContain('No email worker has been heard of');
    });
  });

  test('a device that no provider takes is told as what it is: refused for good', async () => {
    const { user } = await givenPerson();
    await without('push', async () => {
      await herald.sql('worker', `SELECT note_provider('push-story', 'push', 'webpush', 'closed', NULL)`);
      const explanation = await explain(input(user, { notificationType: 'PUSH' }));
      expect(explanation).toMatchObject({ verdict: 'WOULD_FAIL', failureReason: 'REJECTED' });
      expect(explanation.reason).toBe('No provider that is set up takes fcm.');
    });
  });

  test('stores nothing, whatever it says', async () => {
    const { user } = await givenPerson();
    await herald.drained();
    // What relays take away by themselves must be gone before we count.
    await until(async () => (await sql('SELECT FROM feed_in')).length === 0);
    await until(async () => (await herald.sql('user', 'SELECT FROM user_outbox')).length === 0);
    const before = await countRows();
    await explain(input(user));
    await explain(input(user, { sendAt: new Date(Date.now() + HOUR_MS).toISOString() }));
    await explain(input(user, { variables: {} }));
    await explain(input(randomUUID()));
    await expect(explain(input('ada'))).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field: 'userId' });
    expect(await countRows()).toEqual(before);
    // And takes no requestId: the send after it is a new one.
    const send = input(user);
    await explain(send);
    expect((await explain(send)).verdict).toBe('WOULD_SEND');
  });

  async function countRows() {
    const counts: Record<string, number> = {};
    for (const database of ['notification', 'user', 'template'] as const) {
      const tables = await herald.sql(database, `SELECT relname AS name FROM pg_stat_user_tables`);
      for (const { name } of tables) {
        const [row] = await herald.sql(database, `SELECT count(*)::integer AS count FROM "${name}"`);
        counts[`${database}.${name}`] = row?.['count'];
      }
    }
    expect(Object.keys(counts).length).toBeGreaterThan(20);
    return counts;
  }

  test('is for those who may send and may know of users', async () => {
    const { user } = await givenPerson();
    const send = input(user);
    const asked = (viewer: Parameters<typeof askAs>[1]) => askAs(herald, viewer, ExplainSendDocument, { input: send });
    expect((await asked(toClient('shop'))).data?.explainSend.verdict).toBe('WOULD_SEND');
    for (const [viewer, scope] of [
      [toUserViewer(user), 'notifications:send'],
      [{ ...toClient('shop'), scopes: ['notifications:send'] }, 'users:read'],
    ] as const)
      expect((await asked(viewer)).errors).toMatchObject([
        { message: expect.stringContaining(scope), extensions: { code: 'FORBIDDEN' } },
      ]);
  });

  test('tells operators’ words to operators only', async () => {
    const { user } = await givenPerson();
    await suppress({ notificationType: 'EMAIL', userId: user });
    const sender = { ...toClient('shop'), scopes: ['notifications:send', 'users:read'] };
    const { data } = await askAs(herald, sender, ExplainSendDocument, { input: input(user) });
    expect(data?.explainSend).toMatchObject({ verdict: 'WOULD_FAIL', failureReason: 'SUPPRESSED' });
    expect(data?.explainSend.reason).toMatch(/suppressed at/);
    expect(JSON.stringify(data)).not.toMatch(/asked by phone|admin/);
  });

  test('a requestId is its client’s own', async () => {
    const { user } = await givenPerson();
    const send = input(user);
    await outcomeOf(send);
    const { data } = await askAs(herald, toClient('shop'), ExplainSendDocument, { input: send });
    expect(data?.explainSend).toMatchObject({ verdict: 'WOULD_SEND', notification: null });
  });

  test.each(['user', 'template'] as const)('with the %s service away it is UNAVAILABLE, as a send is', async (part) => {
    const { user } = await givenPerson();
    await herald.stopPart(part);
    try {
      await expect(explain(input(user))).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringContaining('a service that this needs is away'),
      });
    } finally {
      await herald.startPart(part);
    }
  });
});
