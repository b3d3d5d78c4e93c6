import { readFileSync } from 'node:fs';
import {
  buildASTSchema,
  getNamedType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  Kind,
  parse,
  type GraphQLArgument,
  type GraphQLInputType,
  type GraphQLObjectType,
  type GraphQLSchema,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../client/client.ts';
import { CreateApiKeyDocument, LogInDocument } from '../client/generated/operations.ts';
import { ADMIN, type Scope } from '../contracts/scopes.ts';
import { scopesOf } from '../platform/enforce-scopes.ts';
import { signRequest } from '../platform/trust.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startHerald, type Herald } from './start.ts';

const SUBGRAPHS = ['user', 'template', 'notification'] as const;
type Subgraph = (typeof SUBGRAPHS)[number];

/** Anybody may; what they get is their own, or a credential. */
const OPEN = ['Query.me', 'Mutation.logIn', 'Mutation.refreshSession', 'Mutation.logOut'];

const schemas = Object.fromEntries(SUBGRAPHS.map((name) => [name, read(name)])) as Record<Subgraph, GraphQLSchema>;

/** Without what only federation knows. */
function read(name: Subgraph): GraphQLSchema {
  const document = parse(readFileSync(new URL(`../subgraphs/${name}/schema.graphql`, import.meta.url), 'utf8'));
  const definitions = document.definitions.filter(({ kind }) => kind !== Kind.SCHEMA_EXTENSION);
  return buildASTSchema({ ...document, definitions }, { assumeValid: true });
}

const rootFields = SUBGRAPHS.flatMap((name) =>
  [schemas[name].getQueryType(), schemas[name].getMutationType()].flatMap((root) =>
    Object.values(root?.getFields() ?? {}).map((field) => ({
      name,
      root: root?.name ?? '',
      field,
      required: scopesOf(field.astNode?.directives),
    })),
  ),
);
const entities = SUBGRAPHS.flatMap((name) =>
  Object.values(schemas[name].getTypeMap()).flatMap((type) => {
    const directives = type.astNode?.directives;
    const isEntity = directives?.some((directive) => directive.name.value === 'key') === true;
    return isEntity ? [{ name, type: type as GraphQLObjectType, required: scopesOf(directives) }] : [];
  }),
);

/** The least that an argument takes. */
function literal(type: GraphQLInputType): string {
  if (isNonNullType(type)) return literal(type.ofType);
  if (isListType(type)) return '[]';
  if (isEnumType(type)) return type.getValues()[0]?.name ?? '';
  if (isInputObjectType(type)) return `{ ${argumentsOf(Object.values(type.getFields()))} }`;
  const { name } = getNamedType(type);
  return { Int: '1', Boolean: 'true', DateTime: '"2026-01-01T00:00:00Z"', JSONObject: '{}' }[name] ?? '"x"';
}

const argumentsOf = (args: readonly Pick<GraphQLArgument, 'name' | 'type' | 'defaultValue'>[]) =>
  args
    .filter(({ type, defaultValue }) => isNonNullType(type) && defaultValue === undefined)
    .map(({ name, type }) => `${name}: ${literal(type)}`)
    .join(', ');

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

async function askSubgraph(name: Subgraph, query: string, without: string) {
  const scopes = ADMIN.scopes.filter((scope) => scope !== (without as Scope));
  const body = JSON.stringify({ query });
  const context = { viewer: { ...ADMIN, scopes }, requestId: 'story' };
  const headers = signRequest(
    { method: 'POST', path: '/graphql', body },
    context,
    { caller: 'gateway', callee: name },
    herald.secrets[name],
  );
  return (await herald.rest('POST', `${herald.urlOf(name)}/graphql`, body, headers)).body as {
    errors?: { message: string; extensions: { code: string } }[];
  };
}

describe('every field of a root says what it requires, and keeps to it', () => {
  test('but for those that are open', () => {
    const silent = rootFields.filter(({ required }) => required.length === 0);
    expect(silent.map(({ root, field }) => `${root}.${field.name}`).sort()).toEqual(OPEN.toSorted());
  });

  test.each(rootFields.flatMap(({ required, ...field }) => required.map((scope) => ({ ...field, scope }))))(
    '$name $root.$field.name without $scope',
    async ({ name, root, field, scope }) => {
      const args = argumentsOf(field.args);
      const selection = isCompositeType(getNamedType(field.type)) ? '{ __typename }' : '';
      const query = `${root.toLowerCase()} { ${field.name}${args === '' ? '' : `(${args})`} ${selection} }`;
      const { errors } = await askSubgraph(name, query, scope);
      expect(errors).toMatchObject([
        {
          message: `this needs the scope ${scope}, which the credential does not have`,
          extensions: { code: 'FORBIDDEN' },
        },
      ]);
    },
  );

  test.each(entities.flatMap(({ required, ...entity }) => required.map((scope) => ({ ...entity, scope }))))(
    '$name: $type.name by its key, without $scope',
    async ({ name, type, scope }) => {
      const key = type.name === 'Template' ? 'code' : 'id';
      const query = `{ _entities(representations: [{ __typename: "${type.name}", ${key}: "x" }]) { __typename } }`;
      expect((await askSubgraph(name, query, scope)).errors).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
    },
  );
});

test('clients read in the schema what a field requires', async () => {
  const { body } = await herald.rest('POST', '/graphql', {
    query: '{ __type(name: "Query") { fields { name description } } }',
  });
  const fields = (body.data as { __type: { fields: { name: string; description: string }[] } }).__type.fields;
  const descriptionOf = (name: string) => fields.find((field) => field.name === name)?.description;
  expect(descriptionOf('notifications')).toMatch(/Needs the scope notifications:read\.$/);
  expect(descriptionOf('explainSend')).toMatch(
    /Needs the scopes notifications:send and users:read\. Costs as much as 200 objects\.$/,
  );
  expect(descriptionOf('me')).not.toMatch(/Needs/);
});

test('a user sees what became of a notification, and not the words that are its client’s', async () => {
  const email = 'ada.of.scopes@example.com';
  const [user, template] = [await givenUser(herald, { email }), await givenTemplate(herald)];
  const id = await givenSent(herald, user, template, { metadata: { order: 7 } });
  const { logIn } = await createClient({ url: herald.url, apiKey: '' }).request(LogInDocument, {
    email,
    password: 'correct horse',
  });
  const ask = async (credential: string, field: string) => {
    const query = `query ($id: ID!) { notification(id: $id) { status ${field} } }`;
    const headers = { authorization: `Bearer ${credential}` };
    return (await herald.rest('POST', '/graphql', { query, variables: { id } }, headers)).body;
  };
  expect(await ask(logIn.accessToken, 'reason')).toEqual({
    data: { notification: { status: 'PENDING', reason: null } },
  });
  for (const field of ['metadata', 'timeline { event }', 'deliveryAttempts { reason }'])
    expect((await ask(logIn.accessToken, field)).errors, field).toMatchObject([
      { message: expect.stringContaining('notifications:inspect'), extensions: { code: 'FORBIDDEN' } },
    ]);
  const input = { clientId: 'scopes-story', name: 'a story', scopes: ['notifications:read', 'notifications:send'] };
  const { key } = (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
  const sent = await herald.rest(
    'POST',
    '/api/v1/notifications/',
    {
      notification_type: 'email',
      user_id: user,
      template_code: template,
      request_id: 'scopes',
      variables: { name: 'Ada' },
    },
    { authorization: `Bearer ${key}` },
  );
  const mine = await herald.rest('GET', `/api/v1/notifications/${sent.body.notification_id}`, undefined, {
    authorization: `Bearer ${key}`,
  });
  expect(mine.status).toBe(200);
});
