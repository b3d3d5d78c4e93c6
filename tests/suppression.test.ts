import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SuppressInput, SuppressionsQueryVariables } from '../client/generated/operations.ts';
import { SuppressDocument, SuppressionsDocument, UnsuppressDocument } from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification } from './given.ts';
import { startHerald, type Herald } from './start.ts';

let herald: Herald;
let template: string;
let other: string;
beforeAll(async () => {
  herald = await startHerald();
  [template, other] = await Promise.all([givenTemplate(herald), givenTemplate(herald)]);
});
afterAll(() => herald?.stop());

/** A new person, with what is known of them. */
async function givenPerson() {
  const email = `Ada.${randomUUID()}@Example.com`;
  const pushToken = `Device-${randomUUID()}`;
  return { email, pushToken, user: await givenUser(herald, { email, push_token: pushToken }) };
}
type Person = Awaited<ReturnType<typeof givenPerson>>;

const suppress = async (input: Partial<SuppressInput>) => {
  const whole = { notificationType: 'EMAIL' as const, reason: 'asked to stop', ...input };
  return (await herald.graphql(SuppressDocument, { input: whole })).suppress;
};
const page = async (filter: SuppressionsQueryVariables) =>
  (await herald.graphql(SuppressionsDocument, filter)).suppressions;
const unsuppress = async (id: string) => (await herald.graphql(UnsuppressDocument, { id })).unsuppress;
const pushesOf = async (id: string) => (await herald.pushes()).filter(({ NotificationID }) => NotificationID === id);

/** Sends, and says what became of it: SENT or the reason. */
async function send(user: string, code = template, type = 'email'): Promise<string> {
  const id = await givenSent(herald, user, code, { notification_type: type });
  await herald.drained();
  const { status, reason, attempts } = await readNotification(herald, id);
  const arrived = type === 'email' ? await mailsOf(herald, id) : await pushesOf(id);
  expect(arrived).toHaveLength(status === 'delivered' ? 1 : 0);
  expect(attempts).toBe(arrived.length);
  return status === 'delivered' ? 'SENT' : reason;
}

describe('nothing is sent', () => {
  const cases: {
    what: string;
    input: (person: Person) => Partial<SuppressInput>;
    fits: [string, string, string];
    others: [string, string, string][];
  }[] = [
    {
      what: 'to an address, however it is written',
      input: ({ email }) => ({ address: email.toUpperCase() }),
      fits: ['template', 'email', 'SUPPRESSED'],
      others: [['template', 'push', 'SENT']],
    },
    {
      what: 'to a device',
      input: ({ pushToken }) => ({ notificationType: 'PUSH', address: pushToken }),
      fits: ['template', 'push', 'SUPPRESSED'],
      others: [['template', 'email', 'SENT']],
    },
    {
      what: 'to a user over one channel',
      input: ({ user }) => ({ userId: user.toUpperCase() }),
      fits: ['other', 'email', 'SUPPRESSED'],
      others: [['template', 'push', 'SENT']],
    },
    {
      what: 'to a user from one template',
      input: ({ user }) => ({ userId: user, templateCode: template }),
      fits: ['template', 'email', 'SUPPRESSED'],
      others: [
        ['other', 'email', 'SENT'],
        ['template', 'push', 'SENT'],
      ],
    },
  ];

  test.each(cases)('$what, until it is taken back', async ({ input, fits, others }) => {
    const [ada, zoe] = [await givenPerson(), await givenPerson()];
    const codeOf = (name: string) => (name === 'template' ? template : other);
    const { id } = await suppress(input(ada));
    for (const [name, type, outcome] of [fits, ...others]) {
      expect(await send(ada.user, codeOf(name), type), `${name} by ${type}`).toBe(outcome);
      expect(await send(zoe.user, codeOf(name), type)).toBe('SENT');
    }
    expect(await unsuppress(id)).toBe(true);
    expect(await send(ada.user, codeOf(fits[0]), fits[1])).toBe('SENT');
    expect(await unsuppress(id)).toBe(false);
  });

  test('when it came after the send was accepted, and before its hand-over', async () => {
    const { email, user } = await givenPerson();
    await herald.stopPart('email');
    const id = await givenSent(herald, user, template);
    await suppress({ address: email });
    await herald.startPart('email');
    await herald.drained();
    expect(await readNotification(herald, id)).toMatchObject({ status: 'failed', reason: 'SUPPRESSED', attempts: 0 });
    expect(await mailsOf(herald, id)).toEqual([]);
  });
});

describe('the list', () => {
  test('names who, why and since when, newest first, and finds by user, address and channel', async () => {
    const { email, pushToken, user } = await givenPerson();
    const byAddress = await suppress({ address: email, reason: 'bounced' });
    const byUser = await suppress({ userId: user, templateCode: template });
    const byToken = await suppress({ notificationType: 'PUSH', address: pushToken });
    const byPush = await suppress({ notificationType: 'PUSH', userId: user });
    expect(byAddress).toEqual({
      id: byAddress.id,
      notificationType: 'EMAIL',
      address: email.toLowerCase(),
      userId: null,
      templateCode: null,
      reason: 'bounced',
      createdBy: 'admin',
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    });
    const list = async (filter: SuppressionsQueryVariables) => (await page(filter)).edges.map(({ node }) => node);
    expect(await list({ userId: user })).toEqual([byPush, byUser]);
    expect(await list({ userId: user, notificationType: 'EMAIL' })).toEqual([byUser]);
    expect(await list({ address: email })).toEqual([byAddress]);
    expect(await list({ address: pushToken })).toEqual([byToken]);
    expect(await list({ first: 4 })).toEqual([byPush, byToken, byUser, byAddress]);
  });

  test('comes page by page, without a gap or a repeat, while more are added', async () => {
    const user = await givenUser(herald);
    const ids: string[] = [];
    for (const code of ['a', 'b', 'c', 'd', 'e'])
      ids.unshift((await suppress({ userId: user, templateCode: code })).id);
    const first = await page({ userId: user, first: 2 });
    await suppress({ userId: user });
    const second = await page({ userId: user, first: 2, after: first.pageInfo.endCursor });
    const third = await page({ userId: user, first: 2, after: second.pageInfo.endCursor });
    expect([first, second, third].flatMap(({ edges }) => edges.map(({ node }) => node.id))).toEqual(ids);
    expect([first, second, third].map(({ pageInfo }) => pageInfo.hasNextPage)).toEqual([true, true, false]);
    expect([first, second, third].map(({ pageInfo }) => pageInfo.hasPreviousPage)).toEqual([false, true, true]);
  });

  test.each([
    ['a page of nothing', { first: 0 }, 'first'],
    ['a page that is too long', { first: 201 }, 'first'],
    ['a cursor of somebody else', { after: 'YQ' }, 'after'],
    ['a user that is no UUID', { userId: 'ada' }, 'userId'],
  ])('refuses %s', async (_, filter, field) => {
    await expect(page(filter)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
  });

  test('has one entry for what is suppressed several times, also at once', async () => {
    const { user } = await givenPerson();
    const twice = await Promise.all(Array.from({ length: 5 }, () => suppress({ userId: user })));
    expect(new Set(twice.map(({ id }) => id)).size).toBe(1);
    expect(await suppress({ userId: user, reason: 'another' })).toEqual(twice[0]);
  });
});

describe('refused is a suppression', () => {
  const userId = randomUUID();
  test.each<[string, Partial<SuppressInput>, string]>([
    ['of nothing', {}, 'address'],
    ['of an address and a user', { address: 'ada@example.com', userId }, 'address'],
    ['of a user that is no UUID', { userId: 'ada' }, 'userId'],
    ['of a template without a user', { address: 'ada@example.com', templateCode: 'welcome' }, 'templateCode'],
    ['of an empty address', { address: '' }, 'address'],
    ['of an address with a line break', { address: 'ada@example.com\n' }, 'address'],
    ['of an address that is too long', { address: 'a'.repeat(4_097) }, 'address'],
    ['of a code that is too long', { userId, templateCode: 'a'.repeat(201) }, 'templateCode'],
    ['without a reason', { userId, reason: '' }, 'reason'],
    ['with a reason that holds NUL', { userId, reason: 'a\0b' }, 'reason'],
    ['with a reason that is too long', { userId, reason: 'a'.repeat(1_001) }, 'reason'],
  ])('%s', async (_, input, field) => {
    await expect(suppress(input)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
    expect((await page({ userId })).edges).toEqual([]);
  });

  test('taken back by an id that is none: there was nothing', async () => {
    expect(await unsuppress('ada')).toBe(false);
    expect(await unsuppress(randomUUID())).toBe(false);
  });
});
