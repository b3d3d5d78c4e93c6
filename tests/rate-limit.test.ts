import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { createClient } from '../client/client.ts';
import { CreateApiKeyDocument, LogInDocument, MeDocument } from '../client/generated/operations.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { startPrivateRedis } from './private-redis.ts';
import { expectProblem } from './problem.ts';
import { brokerKinds, hasServices, startHerald, type Herald, type HeraldOptions } from './start.ts';
import { until } from './until.ts';

const SENDS = '/api/v1/notifications/';
const PASSWORD = 'correct horse';
const parts = ['user', 'template', 'notification', 'gateway'] as const;

let herald: Herald | undefined;
afterEach(async () => {
  await herald?.stop();
  herald = undefined;
});

async function start(options: HeraldOptions) {
  herald = await startHerald({ parts, ...options });
  return herald;
}

async function givenKey(at: Herald) {
  const scopes = ['notifications:send', 'notifications:read', 'users:read', 'templates:read'];
  const input = { clientId: `client-${randomUUID().slice(0, 8)}`, name: 'a story', scopes };
  const { key } = (await at.graphql(CreateApiKeyDocument, { input })).createApiKey;
  return { authorization: `Bearer ${key}` };
}

/** A story that ends within a minute's window may begin near its end. */
const statusesOf = (answers: { status: number }[]) => answers.map(({ status }) => status).sort();

describe.each(brokerKinds)('with %s', (broker) => {
  test('a client that asks too often is told when to come back; others are not concerned', async () => {
    const at = await start({ broker, rates: { clientPerMinute: 5 } });
    const [user, template] = [await givenUser(at), await givenTemplate(at)];
    const [busy, calm] = [await givenKey(at), await givenKey(at)];
    const first = await at.rest('POST', SENDS, sendBody(user, template), busy);
    expect(first.status).toBe(202);
    expect(first.headers).toMatchObject({
      'ratelimit-policy': '"default";q=5;w=60',
      ratelimit: expect.stringMatching(/^"default";r=4;t=\d+$/),
    });
    // One share at every door.
    const others = [
      await at.rest('GET', SENDS, undefined, busy),
      await at.rest('GET', `/api/v1/users/${user}`, undefined, busy),
      await at.rest('GET', `/api/v1/templates/${template}`, undefined, busy),
      await at.rest('POST', '/graphql', { query: '{ __typename }' }, busy),
    ];
    if (broker === 'rabbitmq') expect(others[3]?.headers['ratelimit']).toMatch(/r=0/);
    for (const path of [SENDS, SENDS + randomUUID()]) await at.rest('GET', path, undefined, busy);
    const refused = await until(async () => {
      const answer = await at.rest('GET', SENDS, undefined, busy);
      return answer.status === 429 && answer;
    });
    expectProblem(refused, 429);
    const wait = Number(refused.headers['retry-after']);
    expect(wait).toBeGreaterThan(0);
    expect(wait).toBeLessThanOrEqual(60);
    const graph = await at.rest('POST', '/graphql', { query: '{ __typename }' }, busy);
    expect(graph.status).toBe(429);
    expect(graph.body.errors[0].extensions).toMatchObject({
      code: 'RATE_LIMITED',
      retryAfterSeconds: expect.any(Number),
    });
    expect((await at.rest('POST', SENDS, sendBody(user, template), calm)).status).toBe(202);
    expect((await at.rest('GET', SENDS)).headers['ratelimit']).toBeUndefined();
  });

  test('a request that sends many counts as many', async () => {
    const at = await start({ broker, rates: { clientPerMinute: 20 } });
    const [user, template, key] = [await givenUser(at), await givenTemplate(at), await givenKey(at)];
    const many = (count: number) => Array.from({ length: count }, () => sendBody(user, template));
    expect((await at.rest('POST', SENDS, many(15), key)).status).toBe(202);
    const refused = await at.rest('POST', SENDS, many(10), key);
    expectProblem(refused, 429);
    expect(await at.sql('notification', 'SELECT count(*)::integer FROM notification')).toEqual([{ count: 15 }]);
  });

  test('a user who logs in wrongly too often has to wait, whether or not they exist', async () => {
    const at = await start({ broker });
    const logIn = (email: string, password: string) =>
      createClient({ url: at.url, apiKey: '' })
        .request(LogInDocument, { email, password })
        .then(
          ({ logIn: session }) => session.accessToken,
          ({ code, message }: { code: string; message: string }) => ({ code, message }),
        );
    const [known, calm] = [`${randomUUID()}@example.com`, `${randomUUID()}@example.com`];
    for (const email of [known, calm]) await givenUser(at, { email });
    const answers = [];
    for (const email of [known, `${randomUUID()}@example.com`]) {
      // All at once: not each of them is the first.
      const wrong = await Promise.all(Array.from({ length: 15 }, () => logIn(email, 'wrong horse')));
      const codes = wrong.map((answer) => (answer as { code: string }).code).sort();
      expect(codes).toEqual([...Array(5).fill('RATE_LIMITED'), ...Array(10).fill('UNAUTHENTICATED')]);
      answers.push(await logIn(email.toUpperCase(), PASSWORD));
    }
    const [forKnown, forUnknown] = answers as { code: string; message: string }[];
    expect(forKnown).toMatchObject({ code: 'RATE_LIMITED', message: expect.stringMatching(/try again in \d+ min/) });
    expect(forUnknown).toEqual(forKnown);
    // Who is right uses nothing up.
    for (let time = 0; time < 12; time += 1) expect(await logIn(calm, PASSWORD)).toEqual(expect.any(String));
  });
});

test('a user has a share of their own', async () => {
  const at = await start({ broker: 'embedded', rates: { userPerMinute: 2 } });
  const email = `${randomUUID()}@example.com`;
  await givenUser(at, { email });
  const { logIn } = await createClient({ url: at.url, apiKey: '' }).request(LogInDocument, {
    email,
    password: PASSWORD,
  });
  const me = createClient({ url: at.url, apiKey: logIn.accessToken });
  for (let time = 0; time < 2; time += 1) expect((await me.request(MeDocument, {})).me).toMatchObject({ email });
  await expect(me.request(MeDocument, {})).rejects.toMatchObject({ code: 'RATE_LIMITED' });
});

test('an address that tries keys is stopped, one that has a valid key is not', async () => {
  const at = await start({ broker: 'embedded', rates: { addressPerMinute: 3 } });
  const tries = [];
  for (let time = 0; time < 5; time += 1)
    tries.push(await at.rest('GET', SENDS, undefined, { authorization: `Bearer hk_wrong${time}` }));
  expect(statusesOf(tries)).toEqual([401, 401, 401, 429, 429]);
  expect((await at.rest('GET', SENDS)).status).toBe(200);
});

describe.skipIf(!hasServices)('with Redis', () => {
  test('two gateways share what a client has, and each keeps the limit by itself while Redis is away', async () => {
    const redis = await startPrivateRedis();
    try {
      const at = await start({ rates: { clientPerMinute: 10 }, redisUrl: redis.url });
      const key = await givenKey(at);
      const other = await at.addInstance('gateway');
      const ask = (url: string) => at.rest('GET', `${url}${SENDS}`, undefined, key);
      const both = await Promise.all(Array.from({ length: 20 }, (_, turn) => ask(turn % 2 === 0 ? at.url : other.url)));
      expect(statusesOf(both)).toEqual([...Array(10).fill(200), ...Array(10).fill(429)]);

      await redis.stop();
      const alone = await givenKey(at);
      const askAlone = () => at.rest('GET', SENDS, undefined, alone);
      const answers = [];
      for (let turn = 0; turn < 14; turn += 1) answers.push(await askAlone());
      expect(statusesOf(answers)).toEqual([...Array(10).fill(200), ...Array(4).fill(429)]);
    } finally {
      await redis.stop();
    }
  });
});
