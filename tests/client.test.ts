import { randomUUID } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, GraphQLRequestError, type Client } from '../client/client.ts';
import {
  CreateTemplateDocument,
  CreateUserDocument,
  LogInDocument,
  MeDocument,
  NotificationDocument,
  SendNotificationDocument,
  SetPreferencesDocument,
  TemplateDocument,
  UserDocument,
} from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
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

test('a user logs in without a credential, and asks with the access token, however it is given', async () => {
  const user = { name: 'Ada', email: `${randomUUID()}@example.com`, password: 'correct horse' };
  const { createUser } = await herald.graphql(CreateUserDocument, { input: user });
  const { email, password } = user;
  const { logIn } = await createClient({ url: herald.url }).request(LogInDocument, { email, password });
  const { accessToken } = logIn;
  const clients = [createClient({ url: herald.url, accessToken })];
  clients.push(createClient({ url: herald.url, getToken: async () => accessToken }));
  for (const client of clients) expect((await client.request(MeDocument, {})).me).toMatchObject({ id: createUser.id });
});

test('what is missing of an answer does not hide the rest, and says when to come back', async () => {
  const templateCode = await givenTemplate(herald);
  const id = await givenSent(herald, await givenUser(herald), templateCode);

  await herald.stopPart('user');
  const client = createClient({ url: herald.url, apiKey: herald.adminApiKey });
  const { data, errors, requestId: answer } = await client.requestRaw(NotificationDocument, { id });
  await herald.startPart('user');
  expect(data?.notification).toMatchObject({ id, user: null, template: { code: templateCode } });
  expect(errors).toMatchObject([
    { name: 'GraphQLRequestError', code: 'UNAVAILABLE', retryAfterSeconds: 2, requestId: answer },
  ]);
});

test.each([
  ['is no JSON', '<html>', /answered 502 with something that is not JSON: <html>/],
  ['is JSON of somebody else', '{"hello":"world"}', /answered 502 without data/],
])('an answer that %s says so', async (_, body, message) => {
  await withServer(
    (_request, response) => response.writeHead(502, { connection: 'close' }).end(body),
    (client) => expect(client.request(UserDocument, { id: randomUUID() })).rejects.toThrow(message),
  );
});

test('the header Retry-After counts too', async () => {
  const headers = { connection: 'close', 'retry-after': '7', 'x-request-id': 'r1' };
  const body = '{"errors":[{"message":"no","extensions":{"code":"UNAVAILABLE"}}]}';
  await withServer(
    (_request, response) => response.writeHead(503, headers).end(body),
    (client) =>
      expect(client.request(UserDocument, { id: randomUUID() })).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        retryAfterSeconds: 7,
        requestId: 'r1',
      }),
  );
});

test('a request that gets no answer ends after its time, and when its signal says so', async () => {
  await withServer(
    () => {},
    async (client) => {
      const id = randomUUID();
      await expect(client.request(UserDocument, { id }, { timeoutMs: 50 })).rejects.toThrow(
        /did not answer within 50 ms/,
      );
      const asked = new AbortController();
      const request = client.request(UserDocument, { id }, { signal: asked.signal });
      asked.abort(new Error('not wanted any more'));
      await expect(request).rejects.toThrow('not wanted any more');
    },
  );
});

/** Lends a client of somebody who is not Herald. */
async function withServer(answer: RequestListener, use: (client: Client) => Promise<void>): Promise<void> {
  const server = createServer(answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  await use(createClient({ url: `http://127.0.0.1:${port}`, apiKey: 'any' }));
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
}
