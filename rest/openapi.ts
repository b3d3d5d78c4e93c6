import { getOperationAST, Kind, parse, visit, type FieldDefinitionNode } from 'graphql';
import { z } from 'zod';
import { STATUS_OF, type RefusalCode } from '../platform/refusal.ts';
import { operationsOf, type RestRoute } from '../platform/rest/route.ts';
import { eventStream, statusEventSchema } from './event-stream.ts';
import { PARAMETERS } from './fields.ts';
import { table } from './table.ts';

/** What any route may refuse with, and what those with a body may besides. */
const ALWAYS: RefusalCode[] = [
  'BAD_USER_INPUT',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'RATE_LIMITED',
  'UNAVAILABLE',
  'TIMEOUT',
];
const WITH_BODY: RefusalCode[] = ['PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'];

const MEANING: Record<number, string> = {
  400: 'A field is missing, unknown or wrong; `errors` names each.',
  401: 'No valid credential.',
  403: 'The credential lacks the scope that is named.',
  404: 'There is none, or none that you may know of.',
  409: 'It does not fit what is there: taken, too late, or another content under the same request_id.',
  410: 'The feed goes not so far back any more, or has begun anew: come again without the cursor.',
  413: 'The body is larger than this path takes.',
  415: 'The body is no JSON in UTF-8.',
  422: "Every field is right, and it can't be done: a missing variable, no address, a version with errors.",
  429: 'Too many requests; Retry-After says when to come back.',
  503: 'A service is away: nothing was done, repeat the request in a moment.',
  504: 'A service did not answer in time: it may have been done, so look, or repeat with the same request_id.',
};

/**
 * OpenAPI 3.1 of the whole table, and of the stream beside it: pure, so that the committed document can be compared with it.
 * @param version of Herald
 * @param supergraph whose `@scope` says what each operation requires
 */
export function toOpenApi(version: string, supergraph: string): object {
  const scopes = readScopes(supergraph);
  const groups = Object.entries(table);
  return {
    openapi: '3.1.1',
    info: {
      title: 'Herald',
      version,
      summary: 'Takes a notification once, answers at once, delivers it by email or push.',
      description:
        'Every path runs one operation of the GraphQL endpoint, with the same keys, scopes and limits. Paths are taken with and without the slash at their end. `X-Request-Id` or `X-Correlation-Id` is taken from the request, or made, and returned.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/', description: 'Where this document comes from.' }],
    security: [{ bearer: [] }, { key: [] }],
    tags: groups.map(([name, { description }]) => ({ name, description })),
    paths: toPaths([
      ...groups.flatMap(([tag, { routes }]) =>
        routes.map((route) => ({ route, item: toOperation(tag, route, scopes) })),
      ),
      { route: eventStream, item: toStreamOperation() },
    ]),
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: "A client's key, or a user's access token." },
        key: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: "A client's key." },
      },
      schemas: toSchemas(),
      responses: Object.fromEntries(
        Object.entries(MEANING).map(([status, description]) => [
          toName(Number(status)),
          toProblem(Number(status), description),
        ]),
      ),
      headers: HEADERS,
    },
  };
}

const HEADERS = {
  'X-Request-Id': { description: 'Finds the request in the log.', schema: { type: 'string' } },
  'X-Correlation-Id': { description: "The request's own, else the same.", schema: { type: 'string' } },
  ETag: { description: 'Changes with the body; `If-None-Match` takes it.', schema: { type: 'string' } },
  Link: { description: 'The next page (rel="next"), while there is one.', schema: { type: 'string' } },
  Location: { description: 'The path of what was made.', schema: { type: 'string' } },
  'Retry-After': { description: 'Seconds.', schema: { type: 'integer' } },
};

const headers = (...names: (keyof typeof HEADERS)[]) =>
  Object.fromEntries(
    (['X-Request-Id', 'X-Correlation-Id', ...names] as const).map((name) => [
      name,
      { $ref: `#/components/headers/${name}` },
    ]),
  );

const problemSchema = z
  .strictObject({
    type: z.string().meta({ description: 'urn:herald:problem: and the code.' }),
    title: z.string().meta({ description: "The status's name." }),
    status: z.int().meta({ description: 'The HTTP status.' }),
    detail: z.string().meta({ description: 'What is wrong, and the mend.' }),
    request_id: z.string().meta({ description: 'Finds the request in the log.' }),
    errors: z
      .array(
        z.strictObject({
          field: z.string().meta({ description: "Its path in the caller's spelling; empty for the whole body." }),
          code: z.string().meta({ description: 'For programs.' }),
          message: z.string().meta({ description: 'For people.' }),
          line: z.int().optional().meta({ description: 'In a text, from 1.' }),
          column: z.int().optional().meta({ description: 'In that line, from 1.' }),
        }),
      )
      .meta({ description: 'Every field that is at fault.' }),
  })
  .meta({ id: 'Problem', description: 'Problem details (RFC 9457).' });

function toPaths(operations: { route: Pick<RestRoute, 'path' | 'method'>; item: object }[]): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const { route, item } of operations) {
    const path = route.path.replace('...', '');
    (paths[path] ??= {})[route.method.toLowerCase()] = item;
  }
  return paths;
}

function toOperation(tag: string, route: RestRoute, scopes: Map<string, string[]>): object {
  const required = [...new Set(operationsOf(route).flatMap((operation) => scopesOf(operation, scopes)))];
  const told = [route.description, required.length > 0 && `Requires \`${required.join(' ')}\`.`].filter(Boolean);
  return {
    operationId: route.id,
    tags: [tag],
    summary: route.summary,
    ...(told.length > 0 && { description: told.join(' ') }),
    parameters: toParameters(route),
    ...(route.body && {
      requestBody: {
        required: !route.body.safeParse({}).success,
        content: {
          'application/json': {
            schema: toBodySchema(route.body, route.many),
            ...(route.example?.body !== undefined && { example: route.example.body }),
          },
        },
      },
    }),
    responses: toResponses(route),
  };
}

function toStreamOperation(): object {
  const { id, tag, summary, description, answer, problems } = eventStream;
  return {
    operationId: id,
    tags: [tag],
    summary,
    description,
    // The last: by stream_token.
    security: [{ bearer: [] }, { key: [] }, {}],
    parameters: toParameters(eventStream),
    responses: {
      ...toProblems([...ALWAYS, ...problems]),
      200: {
        description: answer,
        headers: headers(),
        content: {
          'text/event-stream': { schema: { type: 'string' }, 'x-event-data': toSchema(statusEventSchema) },
        },
      },
    },
  };
}

function toBodySchema(body: z.ZodType, many: RestRoute['many']): object {
  const one = { $ref: refOf(body) };
  return many ? { oneOf: [one, { type: 'array', items: one, minItems: 1, maxItems: many.max }] } : one;
}

type Parameters = Pick<RestRoute, 'path' | 'query' | 'headers' | 'example'>;

function toParameters({ path, query, headers: taken = {}, example }: Parameters): object[] {
  const inPath = [...path.matchAll(/\{(\w+)/g)].map(([, name = '']) => {
    const schema = PARAMETERS[name];
    if (schema === undefined) throw new Error(`rest/fields.ts says nothing of the parameter ${name}`);
    const { description, examples, ...rest } = toSchema(schema);
    return { name, in: 'path', required: true, description, schema: rest, example: (examples as unknown[])?.[0] };
  });
  const inQuery = Object.entries(query?.shape ?? {}).map(([name, field]) => {
    const { description, ...schema } = toSchema(field as z.ZodType);
    delete schema['examples'];
    const value = example?.query?.[name];
    return { name, in: 'query', description, schema, ...(value !== undefined && { example: value }) };
  });
  const inHeaders = Object.entries(taken).map(([name, description]) => ({
    name: name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()),
    in: 'header',
    description,
    schema: { type: 'string' },
  }));
  return [...inPath, ...inQuery, ...inHeaders];
}

function toResponses(route: RestRoute): object {
  const isRead = route.method === 'GET';
  const problems = [...ALWAYS, ...(route.body ? WITH_BODY : []), ...(route.problems ?? [])];
  const answers = Object.entries(route.answers).map(([status, { description, schema }]): [string, object] => {
    const extra = [
      ...(isRead ? (['ETag'] as const) : []),
      ...(route.query && 'after' in route.query.shape ? (['Link'] as const) : []),
      ...(MAKES.has(route.id) ? (['Location'] as const) : []),
    ];
    const content = {
      ...(schema && { 'application/json': { schema: { $ref: refOf(schema) } } }),
      ...(Number(status) >= 400 && { 'application/problem+json': { schema: { $ref: refOf(problemSchema) } } }),
    };
    return [status, { description, headers: headers(...extra), ...(schema && { content }) }];
  });
  const unchanged = { description: 'The ETag still stands.', headers: headers('ETag') };
  return {
    ...toProblems(problems),
    ...Object.fromEntries(answers),
    ...(isRead && { 304: unchanged }),
  };
}

const toProblems = (codes: RefusalCode[]): object =>
  Object.fromEntries(
    codes.map((code) => [STATUS_OF[code], { $ref: `#/components/responses/${toName(STATUS_OF[code])}` }]),
  );

/** Those that answer with the path of what they made. */
const MAKES = new Set(['sendNotifications', 'createUser', 'createTemplate', 'draftTemplateVersion']);

const toProblem = (status: number, description: string) => ({
  description,
  headers: headers(...(status === 429 || status === 503 ? (['Retry-After'] as const) : [])),
  content: { 'application/problem+json': { schema: { $ref: refOf(problemSchema) } } },
});

const toName = (status: number) => `Problem${status}`;

function refOf(schema: z.ZodType): string {
  const id: unknown = schema.meta()?.id;
  if (typeof id !== 'string') throw new Error('a body or an answer of the REST table has no id');
  return `#/components/schemas/${id}`;
}

const JSON_SCHEMA = { target: 'draft-2020-12', io: 'input' } as const;

const toSchema = (schema: z.ZodType) => without(z.toJSONSchema(schema, JSON_SCHEMA), ['$schema']);

/** Everything that has an id; how we name a schema means nothing in it. */
function toSchemas(): object {
  const { schemas } = z.toJSONSchema(z.globalRegistry, {
    ...JSON_SCHEMA,
    uri: (id) => `#/components/schemas/${id}`,
  });
  return Object.fromEntries(
    Object.entries(schemas)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, schema]) => [id, without(schema, ['$schema', '$id', 'id'])]),
  );
}

const without = (schema: object, names: string[]): Record<string, unknown> =>
  Object.fromEntries(Object.entries(schema).filter(([name]) => !names.includes(name)));

/** What the root fields require: `sendNotification` → [`notifications:send`]. */
function readScopes(supergraph: string): Map<string, string[]> {
  const scopes = new Map<string, string[]>();
  const read = (fields: readonly FieldDefinitionNode[] = []) => {
    for (const { name, directives = [] } of fields) {
      const value = directives.find((directive) => directive.name.value === 'scope')?.arguments?.[0]?.value;
      if (value?.kind === Kind.LIST)
        scopes.set(
          name.value,
          value.values.map((item) => (item.kind === Kind.STRING ? item.value : '')),
        );
    }
  };
  visit(parse(supergraph), {
    ObjectTypeDefinition: ({ name, fields }) => (['Query', 'Mutation'].includes(name.value) ? read(fields) : undefined),
  });
  return scopes;
}

const scopesOf = (operation: string, scopes: Map<string, string[]>): string[] =>
  (getOperationAST(parse(operation))?.selectionSet.selections ?? []).flatMap((selection) =>
    selection.kind === Kind.FIELD ? (scopes.get(selection.name.value) ?? []) : [],
  );
