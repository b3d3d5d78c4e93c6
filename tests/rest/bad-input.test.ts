import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXAMPLE } from '../../rest/fields.ts';
import type { Headers } from '../doors.ts';
import { expectProblem } from '../problem.ts';
import { startHerald, type Herald } from '../start.ts';
import { faultOf, operations, resolve, streams, unfitOf, type Operation } from './document.ts';
import { fill, givenSubject, urlFor, type Subject } from './prepare.ts';

type Schema = Record<string, unknown>;
/** A value in a body: where it is, and what it must be. */
type Place = { path: (string | number)[]; schema: Schema };

/** What nobody expects in any field, and whatever of it is fine by the schema must do no harm. */
const WRONG: Record<string, unknown> = {
  null: null,
  'a number': 4.5,
  'a huge number': 1e300,
  'a negative number': -1,
  'a string': 'x',
  'an empty string': '',
  'a string of 5,000': 'x'.repeat(5_000),
  'control characters': 'a\u0000b\u001bc',
  'a line break': 'a\r\nBcc: x@example.com',
  'half a surrogate pair': 'a\ud800',
  'a boolean': true,
  'a list': [],
  'a list of lists': [[1]],
  'an object': { a: 1 },
};
const MISSING = Symbol('missing');

let herald: Herald;
let subject: Subject;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  subject = await givenSubject(herald);
});
afterAll(() => herald?.stop());

/** Every field that the schema knows of what is in the value, and of the value. */
function placesIn(schema: Schema, path: Place['path'] = [], depth = 0): Place[] {
  const { properties, items, anyOf, oneOf } = resolve(schema) as Record<string, unknown>;
  const [first] = (oneOf ?? anyOf ?? []) as Schema[];
  if (first !== undefined) return placesIn(first, path, depth);
  if (depth > 3) return [];
  if (items !== undefined) return placesIn(items as Schema, [...path, 0], depth + 1);
  return Object.entries((properties ?? {}) as Record<string, Schema>).flatMap(([name, inner]) => [
    { path: [...path, name], schema: inner },
    ...placesIn(inner, [...path, name], depth + 1),
  ]);
}

/** The body with another value there, or with none; objects and lists on the way are made. */
function withAt(body: unknown, [key, ...rest]: Place['path'], value: unknown): unknown {
  if (key === undefined) return value;
  if (typeof key === 'number') {
    const list = Array.isArray(body) ? [...(body as unknown[])] : [];
    list[key] = withAt(list[key], rest, value);
    return list;
  }
  const { [key]: inner, ...others } = (typeof body === 'object' && body !== null ? body : {}) as Record<
    string,
    unknown
  >;
  if (rest.length === 0 && value === MISSING) return others;
  return { ...others, [key]: withAt(inner, rest, value) };
}

/** Of the bodies that have much that may be left out. */
const content = {
  locale: 'de',
  email: { subject: 'Hallo {{ name }}', html: '<p>{{ name }}</p>', text: '{{ name }}' },
  push: { title: 'Hallo', body: '{{ name }}', image: null, link: null, data: {}, ttl_seconds: 60, collapse_key: 'a' },
};
const variables = [{ name: 'name', type: 'string', required: true, description: 'who' }];
const FULL: Record<string, object> = {
  createTemplate: { ...content, code: 'billing/invoice', contents: [{ ...content, locale: 'en' }], variables },
  updateUser: { preferences: { email: true, push: true } },
  reportStatus: {
    notification_id: EXAMPLE.notificationId,
    status: 'delivered',
    attempt: { token: 1, class: 'accepted', results: [{ target: 'ada@example.com', class: 'accepted' }] },
  },
  draftTemplateVersion: { contents: [content], variables },
};

type Case = { what: string; body: unknown; field: string };

function casesOf(operation: Operation): Case[] {
  const json = operation.requestBody?.content['application/json'];
  if (json === undefined) return [];
  const example = () => fill(FULL[operation.operationId] ?? json.example, subject);
  return placesIn(json.schema).flatMap(({ path }) => {
    const field = path.join('.');
    const wrong = Object.entries({ ...WRONG, nothing: MISSING }).map(([what, value]) => ({
      what: `${field}: ${what}`,
      body: withAt(example(), path, value),
      field,
    }));
    const unknown = [...path.slice(0, -1), 'colour'];
    return [
      ...wrong,
      { what: `beside ${field}: an unknown field`, body: withAt(example(), unknown, 'red'), field: unknown.join('.') },
    ];
  });
}

test('every field of every body, wrong in every way, is refused by its name, or does what the document says', async () => {
  const wrong: string[] = [];
  let [count, refused] = [0, 0];
  for (const { path, method, operation } of operations) {
    const schema = operation.requestBody?.content['application/json']?.schema ?? {};
    const url = herald.url + urlFor(path, operation, subject);
    for (const { what, body, field } of casesOf(operation)) {
      count += 1;
      const answer = await herald.rest(method, url, body);
      const said = `${operation.operationId} ${what}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`;
      const unfit = unfitOf(operation, answer);
      if (answer.status >= 500 || unfit !== null) wrong.push(`${said} (${unfit})`);
      if (answer.status >= 400) refused += 1;
      // A request_id may come as a header, and the services' own bounds come after those of all fields' types.
      if (faultOf(schema, body) === null) continue;
      // The service names a language by its tag.
      const fields = (answer.body.errors ?? []).map(({ field: named }: { field: string }) =>
        named.replace(/^contents\.[a-z]+\b/, 'contents.0'),
      ) as string[];
      // The whole body, whose name is empty, is no name of a field.
      const isNamed = fields.some(
        (named) => named !== '' && (named === field || named.startsWith(`${field}.`) || field.startsWith(`${named}.`)),
      );
      if (![400, 404, 422].includes(answer.status) || !isNamed) wrong.push(said);
    }
  }
  console.log(`${count} bodies with one fault each, ${refused} refused`);
  expect(wrong.slice(0, 10)).toEqual([]);
  expect(count).toBeGreaterThan(1_000);
  expect(refused / count).toBeGreaterThan(0.5);
}, 60_000);

describe.each(streams)(
  '$operation.operationId refuses, as the document says, before it streams',
  ({ path, operation }) => {
    const other = '0199f0c5-93aa-7c10-8d22-6e1b5c0f4a77';
    const anonymous = { authorization: undefined };
    test.each<[what: string, id: string | null, query: string, headers: Headers, status: number, field?: string]>([
      ['an id that is none', 'ada', '', {}, 400, 'notification_id'],
      ["nobody's id", other, '', {}, 404, 'notification_id'],
      ['no credential', null, '', anonymous, 401],
      ['a forged stream_token', null, '?stream_token=abc.def', anonymous, 401],
      ['an empty stream_token', null, '?stream_token=', anonymous, 401],
      ['two stream_tokens', null, '?stream_token=a&stream_token=b', anonymous, 401],
      ['a forged Last-Event-ID', null, '', { 'last-event-id': 'forged' }, 400, 'Last-Event-ID'],
      ['a forged last_event_id', null, '?last_event_id=forged', {}, 400, 'Last-Event-ID'],
    ])('%s', async (_, id, query, headers, status, field) => {
      const url = herald.url + urlFor(path, operation, id === null ? subject : { ...subject, notification_id: id });
      const answer = await herald.rest('GET', url + query, undefined, headers);
      expectProblem(answer, status, field === undefined ? [] : [field]);
      expect(unfitOf(operation, answer)).toBeNull();
    });

    test("another notification's stream_token", async () => {
      const { notification_id: id } = await givenSubject(herald);
      const { body } = await herald.rest('POST', `/api/v1/notifications/${id}/stream-token/`);
      const url = `${herald.url}${urlFor(path, operation, subject)}?stream_token=${body.stream_token}`;
      expectProblem(await herald.rest('GET', url, undefined, anonymous), 401);
    });
  },
);
