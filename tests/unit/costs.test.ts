import { buildSchema, Kind, parse, type OperationDefinitionNode } from 'graphql';
import { expect, test } from 'vitest';
import { refuseTooMuch } from '../../gateway/limits/check-operation.ts';
import { readCosts } from '../../gateway/limits/costs.ts';
import { measureOperation } from '../../gateway/limits/measure-operation.ts';

const SDL = `
  directive @cost(weight: Int!) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
  directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION
  scalar Blob @cost(weight: 3)
  enum Color @cost(weight: 2) { RED }
  interface Thing { id: ID! deep: Int }
  type Book implements Thing { id: ID! deep: Int cover: Blob color: Color }
  type Film implements Thing @cost(weight: 7) { id: ID! deep: Int @cost(weight: 40) }
  type Page { books: [Book!]! films: [Film!]! }
  input Filter { words: String @cost(weight: 5) any: [Filter!] }
  type Query {
    book: Book
    film: Film
    thing: Thing
    dear: Book @cost(weight: 50)
    dearList: [Book!]! @cost(weight: 50) @listSize(assumedSize: 4)
    hidden: Book @cost(weight: -90)
    found(filter: Filter, words: String @cost(weight: 30), first: Int! = 2): [Book!]! @listSize(slicingArguments: ["first"])
    either(first: Int, last: Int): [Book!]! @listSize(slicingArguments: ["first", "last"])
    any(first: Int, last: Int): [Book!]! @listSize(slicingArguments: ["first", "last"], assumedSize: 6, requireOneSlicingArgument: false)
    page(input: Paging): Page! @listSize(slicingArguments: ["input.first"], sizedFields: ["books", "films"])
    unknown: [Book!]!
  }
  input Paging { first: Int }
`;
const schema = buildSchema(SDL);
const costs = readCosts(SDL);

const measure = (query: string, variables: Record<string, unknown> = {}) => {
  const document = parse(query);
  const operation = document.definitions.find(
    (definition): definition is OperationDefinitionNode => definition.kind === Kind.OPERATION_DEFINITION,
  );
  if (operation === undefined) throw new Error('there is no operation');
  return measureOperation(schema, document, operation, variables, costs);
};

test.each<[string, string, number]>([
  ['an object', '{ book { id } }', 1],
  ['an object of a type with a weight', '{ film { id } }', 7],
  ['a scalar and an enum with a weight', '{ book { cover color } }', 1 + 3 + 2],
  ['a field with a weight', '{ dear { id } }', 50 + 1],
  ['a list of a field with a weight, which is asked once', '{ dearList { id } }', 50 + 4],
  ['a field with a weight in a list', '{ page(input: { first: 3 }) { films { deep } } }', 1 + 3 * (7 + 40)],
  ['a weight below nothing', '{ hidden { id } }', 1],
  ['an interface: the dearest of its types', '{ thing { deep } }', 7 + 40],
  ['one of its types', '{ thing { ... on Book { id } } }', 7],
  ['an argument with a weight', '{ found(words: "x") { id } }', 30 + 2],
  ['one that is null', '{ found(words: null) { id } }', 2],
  [
    'input fields with a weight, however deep',
    '{ found(filter: { any: [{ words: "x" }, { words: "y" }] }) { id } }',
    10 + 2,
  ],
  ['a default for a size', '{ found { id } }', 2],
  ['one of two sizes', '{ either(last: 9) { id } }', 9],
  ['no size where none must be given', '{ any { id } }', 6],
  ['two sizes where one need not be alone: the greater', '{ any(first: 3, last: 8) { id } }', 8],
  ['a size within an input', '{ page(input: { first: 5 }) { books { id } films { id } } }', 1 + 5 * 1 + 5 * 7],
  ['a list of which nothing says its size', '{ unknown { id } }', 10],
])('%s', (_, query, cost) => {
  expect(measure(query)).toMatchObject({ cost, sizeFault: null });
});

test('weights and sizes come by variables, too', () => {
  const query = 'query ($words: String, $last: Int) { found(words: $words) { id } either(last: $last) { id } }';
  expect(measure(query, { words: 'x', last: 4 }).cost).toBe(30 + 2 + 4);
});

test.each(['{ either { id } }', '{ either(first: 1, last: 1) { id } }', '{ either(first: null) { id } }'])(
  '%s is refused: exactly one argument gives the size',
  (query) => {
    expect(refuseTooMuch(measure(query), 1_000)).toMatchObject({
      code: 'BAD_USER_INPUT',
      message: 'either must have exactly one of first, last',
    });
  },
);
