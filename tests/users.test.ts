import { createHmac, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../client/client.ts';
import {
  CreateUserDocument,
  DeleteUserDocument,
  LogInDocument,
  LogOutDocument,
  MeDocument,
  ProvidersDocument,
  RefreshSessionDocument,
  SetPreferencesDocument,
  UpdateUserDocument,
  UserDocument,
  UsersDocument,
  type UpdateUserInput,
} from '../client/generated/operations.ts';
import { createTokenSigner, type KeyRing } from '../platform/tokens.ts';
import { givenSent, givenTemplate, givenUser, mailsOf } from './given.ts';
import { startHerald, type Herald } from './start.ts';

const [older, newer] = [
  { id: 'older', secret: 'o'.repeat(40) },
  { id: 'newer', secret: 'n'.repeat(40) },
];
const jwtKeys: KeyRing = [newer, older];
const PASSWORD = 'correct horse';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ jwtKeys, broker: 'embedded' });
});
afterAll(() => herald?.stop());

const emailOf = () => `Ada.${randomUUID()}@Example.com`;
const as = (credential: string) => createClient({ url: herald.url, apiKey: credential });
const nobody = () => as('');
const logIn = async (email: string, password = PASSWORD) =>
  (await nobody().request(LogInDocument, { email, password })).logIn;
const refresh = async (refreshToken: string) =>
  (await nobody().request(RefreshSessionDocument, { refreshToken })).refreshSession;
const update = async (id: string, input: UpdateUserInput) =>
  (await herald.graphql(UpdateUserDocument, { id, input })).updateUser;
const find = async (variables: { search?: string; first?: number; after?: string }) =>
  (await herald.graphql(UsersDocument, variables)).users;

async function givenPerson() {
  const email = emailOf();
  return { email, user: await givenUser(herald, { email }) };
}

describe('a user', () => {
  test('is changed field by field; what is left out stays, null takes away', async () => {
    const { user, email } = await givenPerson();
    const changed = await update(user, { name: 'Grace', locale: 'de-AT', timeZone: 'Europe/Vienna' });
    expect(changed).toMatchObject({ name: 'Grace', email, locale: 'de-AT', timeZone: 'Europe/Vienna' });
    expect(await update(user, { preferences: { email: false, push: true } })).toMatchObject({
      name: 'Grace',
      preferences: { email: false, push: true },
    });
    expect(await update(user, { locale: null, timeZone: null, email: null })).toMatchObject({
      email: null,
      locale: null,
      timeZone: null,
    });
  });

  test('has an e-mail address of their own, regardless of case', async () => {
    const [ada, zoe] = [await givenPerson(), await givenPerson()];
    const taken = { code: 'CONFLICT', field: 'email' };
    await expect(update(zoe.user, { email: ada.email.toUpperCase() })).rejects.toMatchObject(taken);
    expect(await update(ada.user, { email: ada.email.toUpperCase() })).toMatchObject({
      email: ada.email.toUpperCase(),
    });
  });

  test('is sent to at the address that they have when it is sent', async () => {
    const { user } = await givenPerson();
    const template = await givenTemplate(herald);
    await herald.stopPart('email');
    const id = await givenSent(herald, user, template);
    const email = emailOf();
    await update(user, { email });
    await herald.startPart('email');
    await herald.drained();
    const addresses = (await mailsOf(herald, id)).map(({ To }) => To[0]?.Address.toLowerCase());
    expect(addresses).toEqual([email.toLowerCase()]);
  });

  test.each<[string, UpdateUserInput, string]>([
    ['an empty name', { name: ' ' }, 'name'],
    ['no name', { name: null }, 'name'],
    ['a name with a line break', { name: 'Ada\r\nBcc: x' }, 'name'],
    ['a name of 90 KB', { name: 'a'.repeat(90_000) }, 'name'],
    ['half a surrogate pair', { name: '\ud800' }, 'name'],
    ['no address', { email: 'ada' }, 'email'],
    ['an unknown time zone', { timeZone: 'Mars/Olympus' }, 'timeZone'],
    ['no language', { locale: 'not a language' }, 'locale'],
    ['a short password', { password: 'short' }, 'password'],
  ])('is not changed to have %s', async (_, input, field) => {
    const { user } = await givenPerson();
    const before = (await herald.graphql(UserDocument, { id: user })).user;
    await expect(update(user, input)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
    expect((await herald.graphql(UserDocument, { id: user })).user).toEqual(before);
  });

  test.each(['ada', randomUUID()])('that there is not can not be changed: %s', async (id) => {
    await expect(update(id, { name: 'Ada' })).rejects.toMatchObject({ code: 'NOT_FOUND', field: 'id' });
  });
});

describe('the list of users', () => {
  test('is paged, the newest first, and searched by name and address', async () => {
    const mark = randomUUID().slice(0, 8);
    const ids = [];
    for (const name of ['one', 'two', 'three'])
      ids.unshift(await givenUser(herald, { name: `${name} ${mark}_%`, email: emailOf() }));
    const first = await find({ search: mark.toUpperCase(), first: 2 });
    expect(first.edges.map(({ node }) => node.id)).toEqual(ids.slice(0, 2));
    expect(first.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
    const second = await find({ search: mark, first: 2, after: first.pageInfo.endCursor ?? '' });
    expect(second.edges.map(({ node }) => node.id)).toEqual(ids.slice(2));
    expect(second.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
    expect((await find({ search: `${mark}_%` })).edges).toHaveLength(3);
    expect((await find({ search: `${mark}%_` })).edges).toHaveLength(0);
  });

  test.each([
    [{ first: 0 }, 'first'],
    [{ first: 201 }, 'first'],
    [{ after: 'x' }, 'after'],
    [{ search: '' }, 'search'],
    [{ search: "'; DROP TABLE user; --\0" }, 'search'],
  ])('refuses %o', async (variables, field) => {
    await expect(find(variables)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
  });
});

describe('logging in', () => {
  test('gives a token that is the user, for what is theirs and nothing else', async () => {
    const [ada, zoe] = [await givenPerson(), await givenPerson()];
    const session = await logIn(ada.email.toLowerCase());
    expect(session).toMatchObject({ user: { id: ada.user } });
    const lives = new Date(session.expiresAt).getTime() - Date.now();
    expect(lives).toBeGreaterThan(890_000);
    expect(lives).toBeLessThan(901_000);

    const me = as(session.accessToken);
    expect((await me.request(MeDocument, {})).me).toMatchObject({ id: ada.user, email: ada.email });
    expect((await herald.graphql(MeDocument, {})).me).toBeNull();
    expect((await me.request(UserDocument, { id: zoe.user })).user).toBeNull();
    const preferences = { email: false, push: false };
    expect((await me.request(SetPreferencesDocument, { userId: ada.user, preferences })).setPreferences).toMatchObject({
      preferences,
    });
    const others: (() => Promise<unknown>)[] = [
      () => me.request(SetPreferencesDocument, { userId: zoe.user, preferences }),
      () => me.request(UpdateUserDocument, { id: zoe.user, input: { name: 'Eve' } }),
      () => me.request(DeleteUserDocument, { id: zoe.user }),
    ];
    for (const attempt of others) await expect(attempt()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const input = { name: 'Eve', email: emailOf(), password: PASSWORD };
    for (const attempt of [
      () => me.request(UsersDocument, {}),
      () => me.request(CreateUserDocument, { input }),
      () => me.request(ProvidersDocument, {}),
    ] satisfies (() => Promise<unknown>)[])
      await expect(attempt()).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('fails alike for a wrong password and for nobody', async () => {
    const { email } = await givenPerson();
    const refused = async (address: string, password: string) =>
      logIn(address, password).catch(({ code, message }: { code: string; message: string }) => ({ code, message }));
    const wrong = await refused(email, 'wrong horse');
    expect(wrong).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await refused(emailOf(), PASSWORD)).toEqual(wrong);
  });

  test('is refreshed by a token that works once; a second use ends the whole log-in', async () => {
    const { email, user } = await givenPerson();
    const first = await logIn(email);
    const second = await refresh(first.refreshToken);
    expect((await as(second.accessToken).request(MeDocument, {})).me).toMatchObject({ id: user });
    await expect(refresh(first.refreshToken)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await expect(refresh(second.refreshToken)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  test('of two who use one refresh token at once, one gets a session', async () => {
    const { refreshToken } = await logIn((await givenPerson()).email);
    const both = await Promise.allSettled([refresh(refreshToken), refresh(refreshToken)]);
    expect(both.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(1);
  });

  test('ends with logging out, with a new password, and with the user', async () => {
    const out = await logIn((await givenPerson()).email);
    const me = as(out.accessToken);
    expect((await me.request(LogOutDocument, { refreshToken: out.refreshToken })).logOut).toBe(true);
    expect((await me.request(LogOutDocument, { refreshToken: out.refreshToken })).logOut).toBe(false);

    const changed = await givenPerson();
    const before = await logIn(changed.email);
    await update(changed.user, { password: 'another horse' });
    await expect(logIn(changed.email)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await logIn(changed.email, 'another horse')).toMatchObject({ user: { id: changed.user } });

    const deleted = await givenPerson();
    const last = await logIn(deleted.email);
    await herald.graphql(DeleteUserDocument, { id: deleted.user });
    for (const { refreshToken } of [out, before, last])
      await expect(refresh(refreshToken)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  test('needs no credential, and nothing else can be asked without one', async () => {
    const ask = (query: string) =>
      herald.rest('POST', '/graphql', { query }, { authorization: undefined }).then(({ status }) => status);
    const wrong = 'logIn(email: "a@example.com", password: "wrong horse") { accessToken }';
    expect(await ask(`mutation { ${wrong} }`)).toBe(200);
    for (const query of [
      '{ __typename }',
      '{ __schema { types { name } } }',
      `mutation { ${wrong} deleteUser(id: "x") }`,
      `mutation { ...all } fragment all on Mutation { deleteUser(id: "x") }`,
      `mutation { ... on Mutation { deleteUser(id: "x") } }`,
      `mutation a { ${wrong} } query b { me { id } }`,
      'mutation {',
      `mutation { ${'a: __typename '.repeat(300)} }`,
    ])
      expect(await ask(query), query).toBe(401);
  });
});

describe('an access token', () => {
  const me = async (token: string) => (await as(token).request(MeDocument, {})).me;
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = (subject: string, more: object = {}) => ({
    iss: 'herald',
    aud: 'herald',
    sub: subject,
    iat: Math.floor(Date.now() / 1_000),
    exp: Math.floor(Date.now() / 1_000) + 60,
    ...more,
  });
  const forge = (header: object, payload: object, secret: string) => {
    const signed = `${part(header)}.${part(payload)}`;
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  };
  const HEADER = { alg: 'HS256', kid: 'newer', typ: 'at+jwt' };

  test('of an older key that is still in the ring is good', async () => {
    const { user } = await givenPerson();
    expect(await me(await createTokenSigner([older])(user, 60))).toMatchObject({ id: user });
    expect(await me(forge(HEADER, claims(user), newer.secret))).toMatchObject({ id: user });
  });

  test.each<[string, (user: string) => string]>([
    ['signed with another secret', (user) => forge(HEADER, claims(user), 'x'.repeat(40))],
    ['signed with the secret of another key', (user) => forge(HEADER, claims(user), older.secret)],
    ['of a key that is not known', (user) => forge({ ...HEADER, kid: 'gone' }, claims(user), newer.secret)],
    ['without a key', (user) => forge({ alg: 'HS256', typ: 'at+jwt' }, claims(user), newer.secret)],
    ['of another kind', (user) => forge({ ...HEADER, typ: 'JWT' }, claims(user), newer.secret)],
    ['that is expired', (user) => forge(HEADER, claims(user, { exp: 1 }), newer.secret)],
    ['that never expires', (user) => forge(HEADER, claims(user, { exp: undefined }), newer.secret)],
    ['for somebody else', (user) => forge(HEADER, claims(user, { aud: 'others' }), newer.secret)],
    ['by somebody else', (user) => forge(HEADER, claims(user, { iss: 'others' }), newer.secret)],
    ['with alg none', (user) => `${part({ ...HEADER, alg: 'none' })}.${part(claims(user))}.`],
    ['with alg none and a signature', (user) => `${part({ ...HEADER, alg: 'none' })}.${part(claims(user))}.AAAA`],
    ['that is no JSON', () => 'aaaa.bbbb.cccc'],
  ])('%s is refused', async (_, forged) => {
    const { user } = await givenPerson();
    await expect(me(forged(user))).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  test('whose user is deleted is nobody', async () => {
    const { user, email } = await givenPerson();
    const { accessToken } = await logIn(email);
    await herald.graphql(DeleteUserDocument, { id: user });
    expect(await me(accessToken)).toBeNull();
  });
});
