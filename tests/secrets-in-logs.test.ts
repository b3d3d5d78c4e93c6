import { randomUUID } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import {
  CreateApiKeyDocument,
  CreateStreamTokenDocument,
  RevokeApiKeyDocument,
} from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { logged } from './test-log.ts';
import { until } from './until.ts';
import { watch } from './watch.ts';

let herald: Herald | undefined;
afterEach(() => herald?.stop());

const PASSWORD = 'a horse of course, correct';
const LOG_IN = `mutation ($email: String!, $password: String!) {
  logIn(email: $email, password: $password) { accessToken refreshToken }
}`;

/** Every door with every kind of credential, also wrong, halved and in the wrong place; then with services that are away. */
test('no secret is ever in a log, whatever is done with it', { timeout: 90_000 }, async () => {
  const jwtSecret = randomUUID();
  herald = await startHerald({ broker: 'embedded', jwtKeys: [{ id: 'one', secret: jwtSecret }] });
  const { url, adminApiKey, workerApiKey, secrets } = herald;
  const at = herald;
  const post = (path: string, body: unknown, headers: Record<string, string | undefined> = {}) =>
    at.rest('POST', path, body, headers);

  const email = 'ada@example.com';
  const pushToken = `device-${randomUUID()}`;
  const user = await givenUser(at, { email, password: PASSWORD, push_token: pushToken });
  const template = await givenTemplate(at);
  const input = { clientId: 'shop', name: 'a story', scopes: ['notifications:send', 'notifications:read'] };
  const { key, apiKey } = (await at.graphql(CreateApiKeyDocument, { input })).createApiKey;
  const session = (await post('/graphql', { query: LOG_IN, variables: { email, password: PASSWORD } })).body.data.logIn;
  const id = await givenSent(at, user, template);
  const streamToken = (await at.graphql(CreateStreamTokenDocument, { notificationId: id })).createStreamToken.token;

  const hidden: Record<string, string> = {
    "the admin's key": adminApiKey,
    "the workers' key": workerApiKey,
    "a client's key": key,
    'a password': PASSWORD,
    'a wrong password': 'wrong, but nearly mine',
    'an access token': session.accessToken,
    'a refresh token': session.refreshToken,
    'a stream token': streamToken,
    "a device's token": pushToken,
    'the secret of access tokens': jwtSecret,
    ...Object.fromEntries(Object.entries(secrets).map(([name, secret]) => [`the secret of ${name}`, secret])),
  };

  const useAll = async () => {
    for (const secret of Object.values(hidden)) {
      const bearer = { authorization: `Bearer ${secret}` };
      await at.rest('GET', `/api/v1/notifications/${id}`, undefined, bearer);
      await at.rest('GET', `/api/v1/notifications/${encodeURIComponent(secret)}`);
      await at.rest('GET', `/api/v1/notifications/?after=${encodeURIComponent(secret)}`);
      await at.rest('GET', `/nowhere/${encodeURIComponent(secret)}`);
      await at
        .rest('GET', `${at.urlOf('user')}/api/v1/users/${user}`, undefined, { 'x-api-key': secret })
        .catch(() => null);
      await post('/graphql', { query: '{ me { id } }' }, bearer);
      await post('/graphql', `{"query": "${secret.replaceAll('"', '')}`, bearer);
      await post('/graphql', { query: `{ user(id: "${secret}") { ${'nothing'} } }` });
      await post('/graphql', { query: 'query ($id: ID!) { user(id: $id) { id } }', variables: { id: secret } });
      await post('/graphql', { query: LOG_IN, variables: { email, password: secret } }, { authorization: undefined });
      await post('/graphql', {
        query: 'mutation ($t: String!) { refreshSession(refreshToken: $t) { accessToken } }',
        variables: { t: secret },
      });
      await post('/api/v1/notifications/', { notification_type: secret, password: secret, user_id: secret });
      await post('/webhooks/sendgrid', { secret }, { 'x-twilio-email-event-webhook-signature': secret });
      await post(`/unsubscribe/${encodeURIComponent(secret)}`, {});
      for (const path of [`stream_token=${secret}`, `last_event_id=${secret}`]) {
        const left = AbortSignal.timeout(300);
        await fetch(`${url}/api/v1/notifications/${id}/events?${path}`, { signal: left }).catch(() => null);
      }
      const watched = watch(at, '', { credential: secret });
      await Promise.race([
        watched.ended,
        until(() => watched.results.length > 0, { timeoutMs: 300 }).catch(() => null),
      ]);
      await watched.stop();
    }
  };
  await useAll();
  await at.stopPart('user');
  await at.stopPart('notification');
  await useAll();
  await at.startPart('notification');
  await at.startPart('user');
  // The gateway asks a service that was away again after a pause.
  await until(() => at.graphql(RevokeApiKeyDocument, { id: apiKey.id }), { timeoutMs: 15_000, everyMs: 200 });
  await useAll();

  const lines = logged().map((line) => JSON.stringify(line));
  const found = Object.entries(hidden).flatMap(([name, secret]) =>
    lines.filter((line) => holds(line, secret)).map((line) => `${name}: ${line.slice(0, 500)}`),
  );
  expect(found).toEqual([]);
  // There was something to look through: failures that name their cause, too.
  expect(lines.length).toBeGreaterThan(50);
  expect(lines.some((line) => line.includes('"level":"error"') || line.includes('"level":"warn"'))).toBe(true);
});

/** Whole, encoded, or so much of it that the rest could be found. */
function holds(line: string, secret: string): boolean {
  const forms = [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)];
  const half = secret.slice(Math.ceil(secret.length / 2));
  return [...forms, ...(half.length >= 12 ? [half] : [])].some((form) => line.includes(form));
}
