import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, GraphQLRequestError } from '../client/client.ts';
import {
  CreateTemplateDocument,
  CreateUserDocument,
  NotificationDocument,
  SendNotificationDocument,
  SetPreferencesDocument,
  TemplateDocument,
  UserDocument,
} from '../client/generated/operations.ts';
import { startHerald, type Herald } from './start.ts';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

test('the client makes a user and a template, and sends; each is read back as it was answered', async () => {
  const { createUser } = await herald.graphql(CreateUserDocument, {
    input: { name: 'Ada', email: `${randomUUID()}@example.com`, password: 'correct horse', locale: 'de-AT' },
  });
  expect(createUser).toMatchObject({ name: 'Ada', locale: 'de-AT', pushToken: null });
  expect((await herald.graphql(UserDocument, { id: createUser.id })).user).toEqual(createUser);

  const preferences = { email: true, push: false };
  const { setPreferences } = await herald.graphql(SetPreferencesDocument, { userId: createUser.id, preferences });
  expect(setPreferences).toMatchObject({ id: createUser.id, preferences });

  const { createTemplate } = await herald.graphql(CreateTemplateDocument, {
    input: { code: `client/${randomUUID()}`, locale: 'de', email: { subject: 'Hallo {{ name }}', html: 'x' } },
  });
  expect(createTemplate.currentVersion).toMatchObject({ number: 1, createdBy: 'admin', contents: [{ locale: 'de' }] });
  expect((await herald.graphql(TemplateDocument, { code: createTemplate.code })).template).toEqual(createTemplate);

  const { sendNotification } = await herald.graphql(SendNotificationDocument, {
    input: {
      notificationType: 'EMAIL',
      userId: createUser.id,
      templateCode: createTemplate.code,
      requestId: randomUUID(),
      variables: { name: 'Ada' },
    },
  });
  const { notification } = await herald.graphql(NotificationDocument, { id: sendNotification.notification.id });
  expect(notification).toMatchObject({ ...sendNotification.notification, locale: 'de', user: { id: createUser.id } });
});

test('what there is not is null', async () => {
  expect(await herald.graphql(UserDocument, { id: randomUUID() })).toEqual({ user: null });
  expect(await herald.graphql(TemplateDocument, { code: 'no/such' })).toEqual({ template: null });
  expect(await herald.graphql(NotificationDocument, { id: randomUUID() })).toEqual({ notification: null });
});

test('a refusal is an error with its code, its field, and the id of the request', async () => {
  const input = { name: 'Ada', email: 'nobody', password: 'correct horse' };
  const error = await herald.graphql(CreateUserDocument, { input }).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(GraphQLRequestError);
  expect(error).toMatchObject({
    code: 'BAD_USER_INPUT',
    field: 'email',
    requestId: expect.stringMatching(/./),
    message: expect.stringContaining('email'),
  });
});

test('a wrong key is UNAUTHENTICATED', async () => {
  const client = createClient({ url: `${herald.url}/`, apiKey: 'hk_wrong' });
  await expect(client.request(UserDocument, { id: randomUUID() })).rejects.toMatchObject({
    name: 'GraphQLRequestError',
    code: 'UNAUTHENTICATED',
    field: null,
    requestId: expect.stringMatching(/./),
  });
});

test.each([
  ['is no JSON', '<html>', /answered 502 with something that is not JSON: <html>/],
  ['is JSON of somebody else', '{"hello":"world"}', /answered 502 without data/],
])('an answer that %s says so', async (_, body, message) => {
  const server = createServer((_request, response) => response.writeHead(502, { connection: 'close' }).end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const client = createClient({ url: `http://127.0.0.1:${port}`, apiKey: 'any' });
  await expect(client.request(UserDocument, { id: randomUUID() })).rejects.toThrow(message);
  server.close();
  await once(server, 'close');
});
