import { randomUUID } from 'node:crypto';
import fc, { type Arbitrary } from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { faultOf, operations, resolve, unfitOf, type Operation } from '../rest/document.ts';
import { givenSubject, type Subject } from '../rest/prepare.ts';
import { startHerald, type Herald } from '../start.ts';

const REQUESTS = 10_000;
const AT_ONCE = 8;
/** A subject wears out: what is discarded stays so. */
const SUBJECTS = 60;

type Schema = Record<string, unknown>;
type Shot = {
  path: string;
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  operation: Operation;
  url: string;
  body: unknown;
  isValid: boolean;
};

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

/** Mostly what is known to be there, by the field's last name. */
const known = (name: string, { user_id, code, notification_id }: Subject): Arbitrary<unknown> | undefined =>
  ({
    user_id: fc.constant(user_id),
    template_code: fc.constant(code),
    code: fc.oneof(
      fc.constant(code),
      fc.uuid().map((id) => `made/${id}`),
    ),
    notification_id: fc.constant(notification_id),
    notification_type: fc.constantFrom('email', 'push'),
    request_id: fc.uuid(),
    email: fc.uuid().map((id) => `${id}@example.com`),
    locale: fc.constantFrom('en', 'de', 'de-AT'),
    user_locale: fc.constantFrom('en', 'fr'),
    number: fc.constantFrom(1, 2),
    based_on: fc.constant(1),
    version: fc.constant('1'),
    first: fc.integer({ min: 1, max: 200 }).map(String),
    variables: fc.constant({ name: 'Ada' }),
    send_at: fc.integer({ min: 1, max: 300 }).map((days) => new Date(Date.now() + days * 86_400_000).toISOString()),
    expires_at: fc
      .integer({ min: 301, max: 900 })
      .map((days) => new Date(Date.now() + days * 86_400_000).toISOString()),
    since: fc.constant('2026-01-01T00:00:00Z'),
    until: fc.constant('2030-01-01T00:00:00Z'),
  })[name];

/** As a path and a query carry it. */
const toText = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));

/** Of those who are deleted only a few are there, or soon nobody would be. */
const inPath = ({ operationId }: Operation, name: string, subject: Subject): Arbitrary<unknown> => {
  const there = known(name, subject) as Arbitrary<unknown>;
  return operationId === 'deleteUser' ? fc.oneof({ weight: 30, arbitrary: fc.uuid() }, there) : there;
};

/** What fits a schema. */
function fitting(given: Schema, subject: Subject, name = ''): Arbitrary<unknown> {
  const schema = resolve(given);
  const { type, enum: values, anyOf, oneOf, pattern, minLength = 0, maxLength = 60 } = schema as Record<string, never>;
  const isText = type === 'string' || type === undefined;
  const honest = known(name, subject);
  if (honest !== undefined && (isText || type !== 'array') && !('properties' in schema) && anyOf === undefined)
    return honest;
  if (values !== undefined) return fc.constantFrom(...(values as unknown[]));
  const choices = (anyOf ?? oneOf) as Schema[] | undefined;
  if (choices !== undefined)
    return fc.oneof(
      ...choices.map((choice, place) => ({ weight: place === 0 ? 5 : 1, arbitrary: fitting(choice, subject, name) })),
    );
  switch (String(type)) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'integer': {
      const { minimum = 0, maximum = 1_000 } = schema as Record<string, number>;
      return fc.integer({ min: minimum, max: Math.min(maximum, 100_000) });
    }
    case 'number':
      return fc.double({ noNaN: true });
    case 'array': {
      const { items, minItems = 0, maxItems = 3 } = schema as { items: Schema; minItems?: number; maxItems?: number };
      return fc.array(fitting(items, subject, name), { minLength: minItems, maxLength: Math.min(maxItems, 3) });
    }
    case 'object': {
      const { properties, required = [] } = schema as { properties?: Record<string, Schema>; required?: string[] };
      if (properties === undefined)
        return fc.dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 });
      // A template that says nothing is refused: its channels are there more often than not.
      const arbitraries = Object.entries(properties).map(([key, inner]) => {
        const value = fitting(inner, subject, key);
        return [
          key,
          required.includes(key) || key === 'email' ? value : fc.option(value, { nil: undefined, freq: 1 }),
        ] as const;
      });
      return fc.record(Object.fromEntries(arbitraries)).map(withoutUndefined);
    }
    default:
      if (pattern !== undefined)
        return fc.stringMatching(new RegExp(pattern, 'u'), { size: '-1' }).filter(fits(minLength, maxLength));
      return fc.string({ minLength, maxLength: Math.min(maxLength, 60), unit: 'grapheme-ascii' });
  }
}

const fits = (min: number, max: number) => (text: string) => text.length >= min && text.length <= max;

const withoutUndefined = (record: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));

/** Anything at all in the place of a part. */
const spoilt = (body: unknown): Arbitrary<unknown> =>
  fc.oneof(
    fc.jsonValue(),
    fc.tuple(fc.nat(), fc.jsonValue({ maxDepth: 1 })).map(([place, value]) => {
      if (typeof body !== 'object' || body === null) return value;
      const names = Object.keys(body);
      return { ...body, [names[place % (names.length + 1)] ?? 'colour']: value };
    }),
  );

function shots(subjects: Subject[]): Arbitrary<Shot> {
  const of = fc.tuple(fc.constantFrom(...operations), fc.constantFrom(...subjects));
  return of.chain(([{ path, method, operation }, subject]) => {
    const schema = operation.requestBody?.content['application/json']?.schema;
    const body = schema === undefined ? fc.constant(undefined) : fitting(schema, subject);
    const withSpoilt =
      schema === undefined
        ? body
        : body.chain((fine) =>
            fc.oneof({ weight: 6, arbitrary: fc.constant(fine) }, { weight: 1, arbitrary: spoilt(fine) }),
          );
    const values = fc.tuple(
      ...operation.parameters.map(({ name, in: place, schema: inner }) =>
        place === 'path'
          ? fc.oneof(
              { weight: 12, arbitrary: inPath(operation, name, subject) },
              { weight: 1, arbitrary: fc.string({ minLength: 1 }) },
            )
          : fc.option(
              fc.oneof({ weight: 12, arbitrary: fitting(inner, subject, name) }, { weight: 1, arbitrary: fc.string() }),
              { nil: undefined, freq: 1 },
            ),
      ),
    );
    return fc.tuple(withSpoilt, values).map(([given, parameters]) => {
      const named = operation.parameters.map(({ name, in: place, schema: inner }, at) => ({
        name,
        place,
        inner,
        value: parameters[at],
      }));
      const query = new URLSearchParams(
        named.flatMap(({ name, place, value }): [string, string][] =>
          place === 'query' && value !== undefined ? [[name, toText(value)]] : [],
        ),
      );
      const filled = path.replace(/\{(\w+)\}/g, (_, wanted: string) =>
        encodeURIComponent(String(named.find(({ name }) => name === wanted)?.value).toWellFormed()),
      );
      const isValid =
        (schema === undefined || faultOf(schema, given) === null) &&
        named.every(
          ({ place, inner, value }) =>
            value === undefined || place === 'header' || faultOf(inner, toText(value)) === null,
        );
      return {
        path,
        method,
        operation,
        url: `${filled}${query.size > 0 ? `?${query.toString()}` : ''}`,
        body: given,
        isValid,
      };
    });
  });
}

test(
  `${REQUESTS} requests made of the document are answered as it says, none by a fault of ours`,
  { timeout: 300_000 },
  async () => {
    const subjects: Subject[] = [];
    while (subjects.length < SUBJECTS) subjects.push(await givenSubject(herald));
    const seed = Number.parseInt(randomUUID().slice(0, 7), 16);
    const queue = fc.sample(shots(subjects), { seed, numRuns: REQUESTS }).values();
    let [valid, succeeded] = [0, 0];
    const wrong: string[] = [];
    const refused = new Map<string, number>();
    const shoot = async () => {
      for (const { method, operation, url, body, isValid } of queue) {
        const answer = await herald.rest(
          method,
          herald.url + url,
          body === undefined ? undefined : JSON.stringify(body),
        );
        if (isValid) valid += 1;
        if (answer.status < 300) succeeded += 1;
        else if (isValid)
          refused.set(
            `${operation.operationId} ${answer.status}`,
            (refused.get(`${operation.operationId} ${answer.status}`) ?? 0) + 1,
          );
        const unfit = unfitOf(operation, answer);
        if (answer.status >= 500 || unfit !== null)
          wrong.push(`${method} ${url} ${JSON.stringify(body)?.slice(0, 300)}: ${answer.status} ${unfit}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, shoot));
    const percent = (count: number) => `${((100 * count) / REQUESTS).toFixed(1)} %`;
    console.log(`seed ${seed}: ${percent(valid)} valid by the document, ${percent(succeeded)} answered 2xx`);
    console.log(
      [...refused]
        .sort(([, a], [, b]) => b - a)
        .slice(0, 12)
        .map(([what, count]) => `${what} × ${count}`)
        .join(', '),
    );
    expect(wrong.slice(0, 5), `seed ${seed}`).toEqual([]);
    expect(valid / REQUESTS).toBeGreaterThanOrEqual(0.6);
    expect(succeeded / REQUESTS).toBeGreaterThanOrEqual(0.3);
  },
);
