import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';

const SEND = '/api/v1/notifications/';
const MUTATION = 'mutation Send($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }';
const EXPLAIN = `query Explain($input: SendNotificationInput!) {
  explainSend(input: $input) { verdict refusal { code message field errors { field code message } } }
}`;
const HALF = '\ud800'; // of a surrogate pair

let herald: Herald;
let stored: unknown;
let people: Record<'withToken' | 'withoutToken', string>;
let templates: Record<'plain' | 'emailOnly' | 'guarded', string>;

beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
  people = { withToken: await givenUser(herald), withoutToken: await givenUser(herald, { push_token: null }) };
  templates = {
    plain: await givenTemplate(herald),
    emailOnly: await givenTemplate(herald, { push: null }),
    guarded: await givenTemplate(herald, {
      email: {
        subject: '{{ title | default: "Dear" }} {% if name %}{{ name }}{% endif %}',
        html: '{{ city | upcase | default: "nowhere" }}',
        text: null,
      },
    }),
  };
});
afterAll(() => herald?.stop());

const readStored = () =>
  herald.sql(
    'notification',
    ['notification', 'request_key', 'content', 'timeline', 'outbox', 'feed_in']
      .map((table) => `SELECT '${table}' AS table, count(*) FROM ${table}`)
      .join(' UNION ALL '),
  );

describe('a faulty send is refused and leaves nothing behind', () => {
  beforeEach(async () => {
    stored = await readStored();
  });
  afterEach(async () => {
    expect(await readStored()).toEqual(stored);
  });

  test.each([
    ['malformed JSON', '{"notification_type":', 400],
    ['null', 'null', 400],
    ['a string', '"send it"', 400],
    ['a number', '42', 400],
    ['a body over 2 MiB', JSON.stringify({ metadata: 'x'.repeat(2 * 1024 * 1024) }), 413],
  ])('%s', async (_, body, status) => {
    expectProblem(await herald.rest('POST', SEND, body), status);
  });

  test('a list', async () => {
    expectProblem(await herald.rest('POST', SEND, []), 400, ['']);
  });

  test('a body that would change prototypes', async () => {
    expectProblem(await herald.rest('POST', SEND, '{"__proto__":{"request_id":"x"}}'), 400, ['__proto__']);
  });

  test.each([undefined, ''])('no body at all', async (body) => {
    const required = ['notification_type', 'template_code', 'user_id'];
    expectProblem(await herald.rest('POST', SEND, body), 400, required);
  });

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'application/xml'])('as %s', async (type) => {
    const body = sendBody(people.withToken, templates.plain);
    expectProblem(await herald.rest('POST', SEND, body, { 'content-type': type }), 415);
  });

  // `rule`: Herald's own check, which GraphQL answers with the field; the others GraphQL's types refuse before.
  const faults: { what: string; change: () => object; status: number; field: string; rule?: string }[] = [
    { what: 'an unknown type', change: () => ({ notification_type: 'sms' }), status: 400, field: 'notification_type' },
    {
      what: 'an unknown user',
      change: () => ({ user_id: randomUUID() }),
      status: 404,
      field: 'user_id',
      rule: 'userId',
    },
    {
      what: 'a user_id that is no UUID',
      change: () => ({ user_id: 'ada' }),
      status: 400,
      field: 'user_id',
      rule: 'userId',
    },
    {
      what: 'an unknown template',
      change: () => ({ template_code: 'no/such' }),
      status: 404,
      field: 'template_code',
      rule: 'templateCode',
    },
    {
      what: 'a missing variable',
      change: () => ({ variables: { Name: 'Ada' } }),
      status: 422,
      field: 'variables.name',
      rule: 'variables.name',
    },
    { what: 'no request_id', change: () => ({ request_id: undefined }), status: 400, field: 'request_id' },
    {
      what: 'an empty request_id',
      change: () => ({ request_id: ' ' }),
      status: 400,
      field: 'request_id',
      rule: 'requestId',
    },
    { what: 'a priority "x"', change: () => ({ priority: 'x' }), status: 400, field: 'priority' },
    {
      what: 'a priority of 3,000,000,000',
      change: () => ({ priority: 3_000_000_000 }),
      status: 400,
      field: 'priority',
    },
    { what: 'a priority of 1.5', change: () => ({ priority: 1.5 }), status: 400, field: 'priority' },
    { what: 'a priority of 0', change: () => ({ priority: 0 }), status: 400, field: 'priority', rule: 'priority' },
    { what: 'a priority of 11', change: () => ({ priority: 11 }), status: 400, field: 'priority', rule: 'priority' },
    {
      what: 'push to a user without a push token',
      change: () => ({ notification_type: 'push', user_id: people.withoutToken }),
      status: 422,
      field: 'user_id',
      rule: 'userId',
    },
    {
      what: 'push with a template that has none',
      change: () => ({ notification_type: 'push', template_code: templates.emailOnly }),
      status: 422,
      field: 'template_code',
      rule: 'templateCode',
    },
    { what: 'an unknown field', change: () => ({ colour: 'red' }), status: 400, field: 'colour' },
    { what: 'variables that are a list', change: () => ({ variables: [] }), status: 400, field: 'variables' },
    { what: 'metadata that is a string', change: () => ({ metadata: 'x' }), status: 400, field: 'metadata' },
    { what: 'a send_at that is no time', change: () => ({ send_at: 'tomorrow' }), status: 400, field: 'send_at' },
    {
      what: 'a send_at in two years',
      change: () => ({ send_at: new Date(Date.now() + 2 * 366 * 24 * 3_600_000).toISOString() }),
      status: 400,
      field: 'send_at',
      rule: 'sendAt',
    },
    {
      what: 'an expires_at that has passed',
      change: () => ({ expires_at: new Date(Date.now() - 1_000).toISOString() }),
      status: 400,
      field: 'expires_at',
      rule: 'expiresAt',
    },
    {
      what: 'a locale that is none',
      change: () => ({ locale: 'no locale' }),
      status: 400,
      field: 'locale',
      rule: 'locale',
    },
    {
      what: 'a line break in request_id',
      change: () => ({ request_id: 'a\nb' }),
      status: 400,
      field: 'request_id',
      rule: 'requestId',
    },
    {
      what: 'half a character in request_id',
      change: () => ({ request_id: `a${HALF}` }),
      status: 400,
      field: 'request_id',
      rule: 'requestId',
    },
    {
      what: 'a request_id of 300 bytes',
      change: () => ({ request_id: 'ä'.repeat(150) }),
      status: 400,
      field: 'request_id',
      rule: 'requestId',
    },
    {
      what: 'NUL in a variable',
      change: () => ({ variables: { name: 'a\0' } }),
      status: 400,
      field: 'variables.name',
      rule: 'variables.name',
    },
    {
      what: 'half a character in a variable',
      change: () => ({ variables: { name: HALF } }),
      status: 400,
      field: 'variables.name',
      rule: 'variables.name',
    },
    {
      what: "half a character in a variable's name",
      change: () => ({ variables: { name: 'Ada', [HALF]: 1 } }),
      status: 400,
      field: 'variables',
      rule: 'variables',
    },
    {
      what: 'variables nested 20,000 deep',
      change: () => ({ variables: { name: 'Ada', deep: nested(20_000) } }),
      status: 400,
      field: 'variables',
      rule: 'variables',
    },
    {
      what: 'a list in metadata nested 101 deep',
      change: () => ({ metadata: { list: [nested(101)] } }),
      status: 400,
      field: 'metadata',
      rule: 'metadata',
    },
    {
      what: 'half a character deep in metadata',
      change: () => ({ metadata: { lineItems: [{ userName: HALF }] } }),
      status: 400,
      field: 'metadata.lineItems.0.userName',
      rule: 'metadata.lineItems.0.userName',
    },
  ];

  test.each(faults)('$what: $status over REST, naming $field', async ({ change, status, field }) => {
    const body = sendBody(people.withToken, templates.plain, change());
    expectProblem(await herald.rest('POST', SEND, toText(body)), status, [field]);
  });

  test.each(faults)('$what: refused over GraphQL too', async ({ change, status, field, rule }) => {
    const input = toInput(sendBody(people.withToken, templates.plain, change()));
    const request = toText({ query: MUTATION, variables: { input } });
    const { body, headers } = await herald.rest('POST', `${herald.url}/graphql`, request);
    const [error] = body.errors;
    expect(body.data ?? null).toBeNull();
    expect(error.extensions).toMatchObject({
      code: { 400: 'BAD_USER_INPUT', 404: 'NOT_FOUND', 422: 'UNPROCESSABLE' }[status],
      requestId: headers['x-request-id'],
      ...(rule !== undefined && { field: rule }),
    });
    expect(error.message).toContain(rule ?? toCamel(field));
  });

  test.each(faults)('$what: explainSend says what sendNotification says', async ({ change }) => {
    const input = toInput(sendBody(people.withToken, templates.plain, change()));
    const ask = async (query: string) =>
      (await herald.rest('POST', `${herald.url}/graphql`, toText({ query, variables: { input } }))).body;
    const [sent, explained] = [await ask(MUTATION), await ask(EXPLAIN)];
    const [{ message, extensions }] = sent.errors;
    const { code, field, errors = [] } = extensions;
    if (code === 'BAD_USER_INPUT') {
      expect(explained.errors).toMatchObject([{ message, extensions: { code } }]);
      expect(explained.errors[0].extensions.field).toBe(field);
      expect(explained.errors[0].extensions.errors).toEqual(extensions.errors);
    } else {
      expect(explained.data.explainSend).toEqual({
        verdict: 'WOULD_BE_REFUSED',
        refusal: { code, message, field, errors },
      });
    }
  });

  test('a list of sends of which one is nested too deep names it', async () => {
    const fine = sendBody(people.withToken, templates.plain);
    const tooDeep = sendBody(people.withToken, templates.plain, { metadata: nested(101) });
    expectProblem(await herald.rest('POST', SEND, toText([fine, tooDeep])), 400, ['1.metadata']);
  });

  test('2 MiB of nesting are refused like any, at once', async () => {
    const depth = 340_000;
    const body = sendBody(people.withToken, templates.plain, { metadata: nested(depth) });
    const since = performance.now();
    expectProblem(await herald.rest('POST', SEND, toText(body)), 400, ['metadata']);
    const query = toText({ query: MUTATION, variables: { input: toInput(body) } });
    const inChunks = Readable.from([query.slice(0, 9), query.slice(9)]);
    for (const sent of [query, inChunks]) {
      const answer = await herald.rest('POST', `${herald.url}/graphql`, sent);
      expect(answer.body.errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', field: 'metadata' } }]);
    }
    expect(performance.now() - since).toBeLessThan(15_000);
  });

  test.each([90, 1_000, 20_000])('values nested %i deep in the text of a query are no more trouble', async (depth) => {
    const input = toInput(sendBody(people.withToken, templates.plain, { request_id: '' }));
    const text = JSON.stringify(input)
      .replace(/"(\w+)":/g, '$1:')
      .replace('"EMAIL"', 'EMAIL');
    const literal = text.replace(/}$/, `, metadata: ${deep('{a:', '}', depth)}}`);
    const query = `mutation { sendNotification(input: ${literal}) { duplicate } }`;
    const { body } = await herald.rest('POST', `${herald.url}/graphql`, { query });
    expect(body.errors).toMatchObject([
      { extensions: { code: expect.stringMatching(/^(BAD_USER_INPUT|GRAPHQL_PARSE_FAILED)$/) } },
    ]);
  });

  test('every fault of one send is told at once', async () => {
    const body = sendBody(people.withToken, templates.plain, { request_id: '', priority: 0, locale: '?' });
    expectProblem(await herald.rest('POST', SEND, body), 400, ['locale', 'priority', 'request_id']);
  });
});

test('a variable that the template guards with default or if may be missing', async () => {
  const body = sendBody(people.withToken, templates.guarded, { variables: {} });
  expect(await herald.rest('POST', SEND, body)).toMatchObject({ status: 202 });
});

test.each([
  ['POST', '/graphql', 'null'],
  ['POST', '/graphql', '[]'],
  ['POST', '/graphql', '{"query":7}'],
  ['POST', '/graphql', '{"query":"{"}'],
  ['GET', '/graphql?query=', undefined],
] as const)(
  '%s %s with %s is refused as GraphQL refuses, and says which request it was',
  async (method, path, body) => {
    const { status, headers, body: answer } = await herald.rest(method, path, body);
    expect(status).toBe(400);
    expect(answer.errors).toMatchObject([
      { message: expect.any(String), extensions: { code: expect.any(String), requestId: headers['x-request-id'] } },
    ]);
  },
);

test('the id that a caller gives a request comes back, in the header and in the problem', async () => {
  const answer = await herald.rest('POST', SEND, {}, { 'x-request-id': 'order-7:send' });
  expect(answer.headers['x-request-id']).toBe('order-7:send');
  expect(answer.body.request_id).toBe('order-7:send');
});

/** A value that toText writes as `{"a":{"a":…}}`: JSON.stringify would run out of stack. */
const nested = (depth: number) => `nested ${depth} deep`;

const toText = (body: object) =>
  JSON.stringify(body).replace(/"nested (\d+) deep"/, (_, depth: string) => deep('{"a":', '}', Number(depth)));

const deep = (open: string, close: string, depth: number) => `${open.repeat(depth)}1${close.repeat(depth)}`;

const toCamel = (key: string) => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The same send in GraphQL's spelling. */
const toInput = (body: object) =>
  Object.fromEntries(
    Object.entries(body).map(([key, value]) => [
      toCamel(key),
      key === 'notification_type' ? value.toUpperCase() : value,
    ]),
  );
