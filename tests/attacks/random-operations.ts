import {
  getNamedType,
  getNullableType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  type GraphQLArgument,
  type GraphQLCompositeType,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLSchema,
} from 'graphql';

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function createRandom(seed: number) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    chance: (share: number) => next() < share,
    below: (count: number) => Math.floor(next() * count),
    pick: <Item>(items: readonly Item[]): Item => items[Math.floor(next() * items.length)] as Item,
  };
}

export type Random = ReturnType<typeof createRandom>;

/** What exists, so that random operations find something. */
export type Known = { ids: string[]; strings: string[] };

export type RandomBody = { query: string; variables: Record<string, unknown> };

const ODD = [
  '',
  ' ',
  "' OR true --",
  '"; DROP TABLE notification; --',
  '%',
  '_',
  '\\',
  '{{ 7 | times: 7 }}',
  '<script>alert(1)</script>',
  'a\r\nBcc: eve@example.com',
  '\u0000',
  '\ud800',
  '\u202eevil',
  '💥'.repeat(50),
  'x'.repeat(5_000),
  '__proto__',
  '../../etc/passwd',
  '${7*7}',
  'null',
  '-1',
];
const INTS = [0, 1, 2, 5, 10, -1, 201, 1_000, 2_147_483_647, -2_147_483_648];

/** One random operation that fits the schema, with its variables. */
export function randomOperation(schema: GraphQLSchema, random: Random, known: Known): RandomBody {
  const root = random.chance(0.7) ? schema.getQueryType() : schema.getMutationType();
  if (root == null) throw new Error('the schema has no such root');
  const variables: Record<string, unknown> = {};
  const declared: string[] = [];

  const argumentsOf = (args: readonly GraphQLArgument[]) => {
    const given = args.filter((argument) =>
      isNonNullType(argument.type) ? argument.defaultValue === undefined || random.chance(0.5) : random.chance(0.4),
    );
    if (given.length === 0) return '';
    const texts = given.map((argument) => {
      const name = `v${declared.length}`;
      declared.push(`$${name}: ${String(argument.type)}`);
      variables[name] = randomValue(argument, argument.type, random, known, 0);
      return `${argument.name}: $${name}`;
    });
    return `(${texts.join(', ')})`;
  };
  const select = (type: GraphQLCompositeType, level: number): string => {
    if (!('getFields' in type)) return '{ __typename }';
    const fields = Object.values(type.getFields()).filter(
      (field) => level < 5 || !isCompositeType(getNamedType(field.type)),
    );
    if (fields.length === 0) return '{ __typename }';
    const chosen = new Set(Array.from({ length: 1 + random.below(3) }, () => random.pick(fields)));
    return `{ ${[...chosen].map((field) => fieldOf(field.name, field.args, field.type, level)).join(' ')} }`;
  };
  const fieldOf = (name: string, args: readonly GraphQLArgument[], type: unknown, level: number): string => {
    const named = getNamedType(type as GraphQLCompositeType);
    return `${name}${argumentsOf(args)}${isCompositeType(named) ? ` ${select(named, level + 1)}` : ''}`;
  };

  const field = random.pick(Object.values(root.getFields()));
  const body = fieldOf(field.name, field.args, field.type, 0);
  const heading = declared.length > 0 ? `(${declared.join(', ')})` : '';
  return { query: `${root.name === 'Query' ? 'query' : 'mutation'} Random${heading} { ${body} }`, variables };
}

/** A value that fits its type; strings and numbers are as odd as they come. */
function randomValue(
  named: { name: string },
  type: GraphQLInputType,
  random: Random,
  known: Known,
  level: number,
): unknown {
  const nullable = getNullableType(type);
  if (!isNonNullType(type) && random.chance(0.1)) return null;
  if (isListType(nullable))
    return Array.from({ length: random.below(3) }, () => randomValue(named, nullable.ofType, random, known, level + 1));
  if (isEnumType(nullable)) return random.pick(nullable.getValues()).name;
  if (isInputObjectType(nullable)) {
    const fields: GraphQLInputField[] = Object.values(nullable.getFields()).filter(
      (field) => isNonNullType(field.type) || (level < 4 && random.chance(0.5)),
    );
    return Object.fromEntries(
      fields.map((field) => [field.name, randomValue(field, field.type, random, known, level + 1)]),
    );
  }
  switch (getNamedType(nullable).name) {
    case 'Int':
      return named.name === 'first' && random.chance(0.7) ? 1 + random.below(10) : random.pick(INTS);
    case 'Boolean':
      return random.chance(0.5);
    case 'ID':
      return random.chance(0.7) ? random.pick(known.ids) : random.pick(ODD);
    case 'DateTime':
      return random.pick([
        '2026-01-01T00:00:00Z',
        '2100-01-01T00:00:00+14:00',
        '0001-01-01T00:00:00Z',
        '9999-12-31T23:59:59.999Z',
      ]);
    case 'JSONObject':
      return random.pick<object>([
        {},
        { name: 'Ada' },
        { name: random.pick(ODD) },
        { a: { b: [1, null, 'x'] } },
        { __proto__: null },
      ]);
    default:
      return random.chance(0.5) ? random.pick(known.strings) : random.pick(ODD);
  }
}

/** A body that something is wrong with. */
export function randomNonsense(random: Random, { query, variables }: RandomBody): string {
  const whole = JSON.stringify({ query, variables });
  switch (random.below(10)) {
    case 0:
      return whole.slice(0, random.below(whole.length));
    case 1:
      return random.pick([
        '',
        'null',
        '[]',
        '42',
        '"x"',
        '{',
        '{"query":null}',
        '{"query":42}',
        '{"query":["x"]}',
        '{"variables":{}}',
      ]);
    case 2:
      return JSON.stringify({ query: query.replace(/\b\w/, (letter) => `${letter}\u0000`), variables });
    case 3:
      return JSON.stringify({ query, variables: random.pick<unknown>([[], 'x', 42, { v0: { v0: { v0: [] } } }]) });
    case 4:
      return JSON.stringify({ query: `{ ${'a { '.repeat(50)}` });
    case 5:
      return `{"query":${JSON.stringify(query)},"variables":${'['.repeat(200)}${']'.repeat(200)}}`;
    case 6:
      return JSON.stringify({ query: `${query} ${query}`, variables });
    case 7:
      return JSON.stringify([{ query, variables }]);
    case 8:
      return JSON.stringify({
        query,
        variables,
        operationName: random.pick(ODD),
        extensions: { persistedQuery: { version: 9, sha256Hash: 'x' } },
      });
    default: {
      const at = random.below(query.length);
      return JSON.stringify({
        query: query.slice(0, at) + random.pick(['{', '}', '(', '$', '@', '...', '"', '\ud800', '#']) + query.slice(at),
        variables,
      });
    }
  }
}
