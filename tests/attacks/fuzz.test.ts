import { randomUUID } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  buildClientSchema,
  getIntrospectionQuery,
  Kind,
  parse,
  validate,
  type GraphQLSchema,
  type IntrospectionQuery,
} from 'graphql';
import { getVariableValues } from 'graphql/execution/values.js';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '../../client/client.ts';
import { CreateApiKeyDocument, LogInDocument } from '../../client/generated/operations.ts';
import { CLIENT_SCOPES } from '../../contracts/scopes.ts';
import { givenSent, givenTemplate, givenUser } from '../given.ts';
import { startHerald, type Herald } from '../start.ts';
import { createRandom, randomNonsense, randomOperation, type Known, type RandomBody } from './random-operations.ts';

const BODIES = 10_000;
const AT_ONCE = 32;
const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_126);
/** What the process may have grown by between six and ten thousand bodies, when its caches are full, after a collection. */
const MAX_GROWTH_MB = 40;

let herald: Herald;
let schema: GraphQLSchema;
/** All of them are our subgraphs'; those of introspection are not among them. */
let rootFields: Set<string>;
let known: Known;
let credentials: string[];

beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  const email = `${randomUUID()}@example.com`;
  const [user, other, code] = [
    await givenUser(herald, { email }),
    await givenUser(herald),
    await givenTemplate(herald),
  ];
  const sent = [await givenSent(herald, user, code), await givenSent(herald, other, code)];
  const { data } = (await herald.rest('POST', '/graphql', { query: getIntrospectionQuery() })).body as {
    data: IntrospectionQuery;
  };
  schema = buildClientSchema(data);
  rootFields = new Set(
    [schema.getQueryType(), schema.getMutationType()].flatMap((root) => Object.keys(root?.getFields() ?? {})),
  );
  known = {
    ids: [user, other, code, ...sent, randomUUID()],
    strings: [code, email, 'Ada', 'en', 'de-AT', 'Europe/Vienna', 'notifications:read', 'correct horse', randomUUID()],
  };
  const input = { clientId: 'fuzzing', name: 'fuzz', scopes: [...CLIENT_SCOPES] };
  const { key } = (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey;
  const { logIn } = await createClient({ url: herald.url, apiKey: '' }).request(LogInDocument, {
    email,
    password: 'correct horse',
  });
  credentials = [herald.adminApiKey, herald.adminApiKey, key, key, logIn.accessToken, ''];
});
afterAll(() => herald?.stop());

/** Nothing of this may ever come out. */
const LEAKS = [
  /node_modules|file:\/\/|\.ts:\d+/,
  /127\.0\.0\.1:\d+|localhost:\d+|ECONN|ENOTFOUND/,
  /\b(SELECT|INSERT INTO|UPDATE) [\w"(]|syntax error at or near|invalid input syntax|violates/,
  /\$argon2|password_hash|BEGIN [A-Z ]*PRIVATE/,
  /serviceName|stacktrace|"exception"/,
];

const isValid = ({ query, variables }: RandomBody): boolean => {
  try {
    const document = parse(query);
    if (validate(schema, document).length > 0) return false;
    const [operation] = document.definitions;
    const definitions = operation?.kind === Kind.OPERATION_DEFINITION ? (operation.variableDefinitions ?? []) : [];
    return getVariableValues(schema, definitions, variables).errors === undefined;
  } catch {
    return false;
  }
};

type AnswerError = { message: string; path?: unknown[]; extensions?: { code?: string; requestId?: string } };
type Answer = { data?: object | null; errors?: AnswerError[] };

/**
 * Whether the resolver of a subgraph's root field ran: it gave data (null, too), or an error of its own. What lacks a scope was refused
 * before it, and `__typename` and the schema are told by the gateway.
 */
function isReached({ data, errors = [] }: Answer): boolean {
  const unreached = new Set(errors.filter(isBeforeResolver).map(({ path }) => path?.[0]));
  const told = [...Object.keys(data ?? {}), ...errors.map(({ path }) => path?.[0])];
  return told.some((name) => rootFields.has(String(name)) && !unreached.has(name));
}

const isBeforeResolver = ({ message, path = [], extensions }: AnswerError) =>
  path.length <= 1 && (extensions?.code === 'FORBIDDEN' || /^Argument "|^a service that this needs /.test(message));

test(
  `${BODIES} random bodies (seed ${SEED}) meet no error of ours, learn nothing, and leave no trace in memory`,
  { timeout: 240_000 },
  async () => {
    const random = createRandom(SEED);
    const dispatcher = new Agent({ connections: AT_ONCE });
    const counts = { valid: 0, reached: 0 };
    const statuses = new Map<string, number>();
    const wrong: string[] = [];
    const note = (name: string) => statuses.set(name, (statuses.get(name) ?? 0) + 1);

    const sendOne = async () => {
      const operation = randomOperation(schema, random, known);
      const isNonsense = random.chance(0.2);
      const body = isNonsense ? randomNonsense(random, operation) : JSON.stringify(operation);
      const credential = random.pick(credentials);
      if (!isNonsense && isValid(operation)) counts.valid += 1;
      const response = await request(`${herald.url}/graphql`, {
        method: 'POST',
        dispatcher,
        headers: {
          'content-type': 'application/json',
          ...(credential !== '' && { authorization: `Bearer ${credential}` }),
        },
        body,
      });
      const text = await response.body.text();
      const answer = JSON.parse(text) as Answer;
      const codes = answer.errors?.map(({ extensions }) => extensions?.code ?? 'none') ?? [];
      note(`${response.statusCode} ${[...new Set(codes)].sort().join('+')}`);
      if (isReached(answer)) counts.reached += 1;
      const complain = (what: string) =>
        void (wrong.length < 10 && wrong.push(`${what}\n${body.slice(0, 600)}\n${text.slice(0, 600)}`));
      if (response.statusCode >= 500 || codes.includes('INTERNAL')) complain('an error of ours');
      if (LEAKS.some((leak) => leak.test(text))) complain('a leak');
      if (answer.errors?.some(({ extensions }) => extensions?.requestId === undefined))
        complain('an error without a request id');
    };

    let sent = 0;
    const heaps: number[] = [];
    const run = async (until: number) => {
      const worker = async () => {
        while (sent < until) {
          sent += 1;
          await sendOne();
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      heaps.push(heapMb());
    };
    await run(0.6 * BODIES);
    await run(BODIES);
    await dispatcher.close();

    const share = (count: number) => Math.round((count / sent) * 1_000) / 10;
    const growth = (heaps.at(-1) ?? 0) - (heaps[0] ?? 0);
    console.log(
      `fuzz: ${sent} bodies, ${share(counts.valid)} % valid, ${share(counts.reached)} % reached the resolver of a root field, heap ${heaps.join(' → ')} MB\n` +
        [...statuses]
          .sort(([, a], [, b]) => b - a)
          .map(([name, count]) => `  ${count} × ${name}`)
          .join('\n'),
    );
    expect(wrong).toEqual([]);
    expect(share(counts.valid)).toBeGreaterThanOrEqual(60);
    expect(share(counts.reached)).toBeGreaterThanOrEqual(30);
    expect(growth).toBeLessThan(MAX_GROWTH_MB);
    expect((await herald.rest('GET', '/health')).status).toBe(200);
  },
);

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapMb(): number {
  collect();
  return Math.round(process.memoryUsage().heapUsed / 1024 / 1024);
}
