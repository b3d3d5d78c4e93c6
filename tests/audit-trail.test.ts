import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../client/client.ts';
import {
  AuditTrailDocument,
  CreateApiKeyDocument,
  LogInDocument,
  PublishTemplateDocument,
  RevokeApiKeyDocument,
  SetPreferencesDocument,
  SuppressDocument,
  UpdateUserDocument,
  type AuditTrailQueryVariables,
} from '../client/generated/operations.ts';
import { CLIENT_SCOPES } from '../contracts/scopes.ts';
import { givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

type Part = 'users' | 'templates' | 'notifications';
const read = async (part: Part, variables: Partial<AuditTrailQueryVariables> = {}) =>
  (await herald.graphql(AuditTrailDocument, variables)).auditTrail[part].edges.map(({ node }) => node);
const as = (apiKey: string) => createClient({ url: herald.url, apiKey });

async function givenClient() {
  const input = { clientId: `client-${randomUUID().slice(0, 8)}`, name: 'a story', scopes: [...CLIENT_SCOPES] };
  return (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
}

describe('an act of somebody who may change what is not theirs', () => {
  test('is written down: who, what, when, from where, to what, and what came of it', async () => {
    const before = Date.now();
    const { key, apiKey } = await givenClient();
    const user = await givenUser(herald);
    await as(key).request(UpdateUserDocument, { id: user, input: { name: 'Grace', locale: 'de' } });
    const [update] = await read('users', { by: apiKey.clientId });
    expect(update).toEqual({
      id: expect.any(String),
      at: expect.any(String),
      action: 'updateUser',
      byKind: 'client',
      by: apiKey.clientId,
      keyId: apiKey.id,
      address: '127.0.0.1',
      requestId: expect.any(String),
      target: { id: user, set: ['name', 'locale'] },
      outcome: 'done',
    });
    expect(Date.parse(update?.at ?? '')).toBeGreaterThan(before - 1_000);
    await herald.graphql(RevokeApiKeyDocument, { id: apiKey.id });
    expect((await read('users', { first: 1 }))[0]).toMatchObject({
      action: 'revokeApiKey',
      byKind: 'admin',
      by: 'admin',
      keyId: null,
      target: { id: apiKey.id },
    });
    const created = (await read('users', { action: 'createApiKey' }))[0];
    expect(created).toMatchObject({ target: { clientId: apiKey.clientId, scopes: [...CLIENT_SCOPES], set: ['name'] } });
  });

  test('in each service, over REST too, refused ones as well', async () => {
    const code = await givenTemplate(herald);
    expect((await read('templates', { first: 1 }))[0]).toMatchObject({
      action: 'createTemplate',
      outcome: 'done',
      target: { code },
      address: '127.0.0.1',
    });
    await expect(herald.graphql(PublishTemplateDocument, { code, number: 9, reason: 'why not' })).rejects.toThrow();
    expect((await read('templates', { first: 1 }))[0]).toMatchObject({
      action: 'publishTemplate',
      outcome: 'NOT_FOUND',
      target: { code, number: 9, reason: 'why not' },
    });
    const user = await givenUser(herald);
    await herald.graphql(SuppressDocument, { input: { notificationType: 'EMAIL', userId: user, reason: 'asked to' } });
    expect((await read('notifications', { first: 1 }))[0]).toMatchObject({
      action: 'suppress',
      target: { userId: user, reason: 'asked to' },
    });
    expect((await herald.rest('DELETE', `/api/v1/users/${user}`)).status).toBe(204);
    expect((await read('users', { first: 1 }))[0]).toMatchObject({ action: 'deleteUser', target: { id: user } });
  });

  test('tells no password, address, name or key', async () => {
    const { key } = await givenClient();
    const [email, password, name] = ['secret.ada@example.com', 'a very secret horse', 'Ada Secret'];
    const user = await givenUser(herald, { email, password, name });
    await herald.graphql(UpdateUserDocument, { id: user, input: { email: `x${email}`, password: `${password}!` } });
    const stored = JSON.stringify(await herald.sql('user', 'SELECT * FROM audit'));
    for (const told of [email, password, name, key]) expect(stored).not.toContain(told);
  });

  test('can’t be changed or taken away afterwards', async () => {
    await givenClient();
    for (const change of [
      "UPDATE audit SET action = 'nothing'",
      'DELETE FROM audit',
      'UPDATE audit SET outcome = NULL',
    ])
      await expect(herald.sql('user', change), change).rejects.toThrow(/only added to/);
  });
});

test('what users do to themselves is not written down', async () => {
  const email = `${randomUUID()}@example.com`;
  const user = await givenUser(herald, { email });
  const { logIn } = await as('').request(LogInDocument, { email, password: 'correct horse' });
  await as(logIn.accessToken).request(SetPreferencesDocument, {
    userId: user,
    preferences: { email: false, push: true },
  });
  expect(await read('users', { action: 'setPreferences' })).toEqual([]);
});

test('only the admin reads it, page by page, and odd questions are refused', async () => {
  const { key } = await givenClient();
  await expect(as(key).request(AuditTrailDocument, {})).rejects.toMatchObject({ code: 'FORBIDDEN' });
  const { users } = (await herald.graphql(AuditTrailDocument, { first: 1 })).auditTrail;
  expect(users.pageInfo.hasNextPage).toBe(true);
  const rest = await read('users', { first: 5, after: users.pageInfo.endCursor ?? '' }).catch(
    (error: unknown) => error,
  );
  // The cursor is of one part; every part takes it, for all are sorted by time.
  expect(rest).toEqual(expect.any(Array));
  for (const [variables, field] of [
    [{ first: 0 }, 'first'],
    [{ after: 'x' }, 'after'],
    [{ by: 'a\0' }, 'by'],
    [{ action: '\ud800' }, 'action'],
  ] as const)
    await expect(read('users', variables)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
});
