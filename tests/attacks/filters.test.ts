import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { ADMIN } from '../../contracts/scopes.ts';
import { signRequest } from '../../platform/trust.ts';
import { routesOf, TAGS } from '../../rest/table.ts';
import type { RestAnswer } from '../doors.ts';
import { startHerald, type Herald } from '../start.ts';
import { until } from '../until.ts';
import { givenWorld, type World } from './given-world.ts';
import { argumentsWith, honestArguments, honestValue, TEXTS } from './honest-values.ts';
import { otherPayloads, textPayloads } from './payloads.ts';
import {
  entityNames,
  fieldsOf,
  inputObjectTypes,
  isIn,
  isInaccessible,
  mutationRoot,
  nameOf,
  objectTypes,
  placesOf,
  queryRoot,
  shortestWays,
  subgraphOf,
  subscriptionRoot,
  type Field,
  type Place,
  type Way,
} from './supergraph.ts';
import { lostRows, readTables } from './table-rows.ts';
import { questionAlong } from './way-query.ts';

type Answer = Omit<RestAnswer, 'headers'>;

const AT_ONCE = 16;
const LONG = { timeout: 240_000 };

/** Null for the admin. */
const LEADS_NOWHERE = ['Query.me'];

/** They say how to tell of what other arguments choose. */
const CHOOSES_NOTHING =
  /^Query\.(explainSend\.input\.(requestId|variables|metadata|locale)|previewTemplate\.input\.(locale|userLocale|variables)|statusEvent\.event\.cursor)$/;

const waysTo = shortestWays(queryRoot, (step) => LEADS_NOWHERE.includes(nameOf(step)) || isInaccessible(step.field));
const readPlaces = [...waysTo].flatMap(([name, way]) => {
  const owner = objectTypes.find((type) => type.name === name);
  return owner === undefined ? [] : fieldsOf(owner).flatMap((field) => placesOf([...way, { owner, field }]));
});
const restPlaces = routesOf(TAGS)
  .filter(({ method }) => method === 'GET')
  .flatMap(({ path, query }) => [
    ...[...path.matchAll(/\{(\w+)/g)].map(([, name = '']) => ({ path, parameter: name, isInPath: true })),
    ...(query instanceof z.ZodObject ? Object.keys(query.shape) : []).map((name) => ({
      path,
      parameter: name,
      isInPath: false,
    })),
  ])
  .map((place) => ({ ...place, name: `${place.path} ${place.parameter}` }));
const watchPlaces = fieldsOf(subscriptionRoot).flatMap((field) => placesOf([{ owner: subscriptionRoot, field }]));
const writePlaces = fieldsOf(mutationRoot).flatMap((field) => placesOf([{ owner: mutationRoot, field }]));

let herald: Herald;
/** What nothing may be found of, and nothing changed of. */
let witness: World;
/** What mutations may change. */
let target: World;

beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  witness = await givenWorld(herald, 'withheld');
  target = { ...(await givenWorld(herald, 'aimedat')), feedStart: witness.feedStart };
});
afterAll(() => herald?.stop());

/** Asks for the field at the end of a way, with these arguments; the fields on the way get honest ones. */
function ask(way: Way, args: Record<string, unknown>, world: World, levels = 3): Promise<RestAnswer> {
  const argumentsAt = (depth: number) =>
    depth === way.length - 1 ? args : honestArguments(way.slice(0, depth + 1), world);
  const [first] = way;
  const asked = first !== undefined && isInaccessible(first.field) ? subgraphOf(first.field) : null;
  const isLeftOut = (field: Field) => asked !== null && !isIn(asked, field);
  return post(way, JSON.stringify(questionAlong(way, argumentsAt, { levels, isLeftOut })));
}

/** What only processes of ours may ask is asked of the subgraph itself. */
function post([first]: Way, body: string): Promise<RestAnswer> {
  if (first !== undefined && isInaccessible(first.field)) return postSigned(subgraphOf(first.field), body);
  // Only a worker may tell of attempts.
  const key = first?.field.name === 'reportStatus' ? herald.workerApiKey : herald.adminApiKey;
  return herald.rest('POST', '/graphql', body, { authorization: `Bearer ${key}` });
}

function postSigned(subgraph: 'user' | 'template' | 'notification', body: string): Promise<RestAnswer> {
  const context = { viewer: ADMIN, requestId: 'story' };
  const headers = signRequest(
    { method: 'POST', path: '/graphql', body },
    context,
    { caller: 'gateway', callee: subgraph },
    herald.secrets[subgraph],
  );
  return herald.rest('POST', `${herald.urlOf(subgraph)}/graphql`, body, headers);
}

const marksIn = (text: string): string[] =>
  [...Object.values(witness.marks).flat(), '"isUnsubscribeToken":true'].filter((mark) => text.includes(mark));

/** What no answer may hold, whatever was asked: words of PostgreSQL, of Prisma, of the code, and names of tables. */
const LEAKS = [
  /syntax error|at or near|invalid input syntax|violates|at character|\bposition\b|relation "|SQLSTATE|unterminated/i,
  /\b(SELECT|INSERT INTO|UPDATE|DELETE FROM) [\w"(]/,
  /prisma|node_modules|\.ts:\d+|stacktrace/i,
  /\b(request_key|feed_in|status_count|dead_token|feedback_seen|erased_user|provider_state|push_token|refresh_token|api_key|template_version)\b/,
];
/** Refusals that tell the caller what is wrong. */
const REFUSALS = [
  'BAD_USER_INPUT',
  'BAD_REQUEST',
  'NOT_FOUND',
  'CONFLICT',
  'CURSOR_EXPIRED',
  'UNPROCESSABLE',
  'UNAUTHENTICATED',
  'PAYLOAD_TOO_LARGE',
];

type Fault = { message: string; extensions: { code: string; field?: string } };

/** What is wrong with an answer; null when nothing is. */
function faultOf({ status, body }: Answer, payload: unknown, argument: string): string | null {
  if (status >= 500) return `status ${status}`;
  // What was said may be said back.
  const told = without(JSON.stringify(body), payload);
  const found = marksIn(told);
  if (found.length > 0) return `it found ${found.join(', ')}`;
  const leak = LEAKS.find((pattern) => pattern.test(told) && pattern.test(withoutWhatIsStored(JSON.stringify(body))));
  if (leak !== undefined) return `a leak: ${String(leak.exec(told)?.[0])}`;
  // Of a URL that is none as a whole no field is to blame.
  if ('title' in body) return status === 400 && argument !== '' && body.errors.length === 0 ? 'no field' : null;
  for (const { message, extensions } of (body.errors ?? []) as Fault[]) {
    if (!REFUSALS.includes(extensions.code)) return `the code ${extensions.code}`;
    const isNamed = extensions.field !== undefined || message.includes(`$${argument}`);
    if (extensions.code === 'BAD_USER_INPUT' && !isNamed) return 'no field';
  }
  return null;
}

const payloads = Object.entries({ ...textPayloads, ...otherPayloads });

const without = (text: string, said: unknown) => text.replaceAll(JSON.stringify(said).slice(1, -1), '');

/** What an earlier payload has become a part of is shown as it is; and REST has a field of that name. */
const withoutWhatIsStored = (text: string) =>
  speaking.reduce((rest, payload) => without(rest, payload), text.replaceAll('"push_token":', ''));

/** Those that say what might be a leak, the longest first. */
const speaking = Object.values(textPayloads)
  .filter((payload) => payload.length > 10)
  .sort((a, b) => b.length - a.length);

/** Every payload at every place, many at a time. @returns the last fault of each place */
async function attack<Item extends { name: string }>(
  what: string,
  places: readonly Item[],
  shoot: (place: Item, payload: unknown) => Promise<[Answer, argument: string]>,
): Promise<{ wrong: Record<string, string>; reached: Set<string> }> {
  const reached = new Set<string>();
  const wrong: Record<string, string> = {};
  const pairs = places.flatMap((place) => payloads.map(([name, payload]) => ({ place, name, payload })));
  const queue = pairs.values();
  const shootOn = async () => {
    for (const { place, name, payload } of queue) {
      const [answer, argument] = await shoot(place, payload);
      if (isReached(answer)) reached.add(place.name);
      const fault = faultOf(answer, payload, argument);
      if (fault !== null) wrong[place.name] = `${name}: ${fault}: ${shorten(answer.body)}`;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, shootOn));
  console.log(`${what}: ${places.length} × ${payloads.length} payloads = ${pairs.length} pairs`);
  return { wrong, reached };
}

/** Only what a resolver did, or refused, has data or a place in them. */
const isReached = ({ body: { data, errors = [] } }: Answer) =>
  (data !== undefined && data !== null) || (errors as { path?: unknown[] }[]).some(({ path }) => path !== undefined);

/** What GraphQL itself refuses, of everything but texts, is no more than refused. */
const unreached = (places: readonly Place[], reached: Set<string>) =>
  places.filter(({ name, type }) => TEXTS.includes(type.name) && !reached.has(name)).map(({ name }) => name);

const shorten = (value: unknown) => JSON.stringify(value).slice(0, 400);

/** When nothing is on its way any more. */
async function readQuietTables() {
  await until(async () => {
    const [row] = await herald.sql('notification', WAITING);
    return row?.['waiting'] === 0;
  });
  return readTables(herald);
}

const WAITING =
  'SELECT ((SELECT count(*) FROM outbox WHERE due_at <= now()) + (SELECT count(*) FROM feed_in))::integer AS waiting';

test('the attacks reach every argument and every field of an input that the graph has', () => {
  const attacked = new Set<unknown>(
    [...readPlaces, ...writePlaces, ...watchPlaces].flatMap(({ argument, below }) => [argument, ...below]),
  );
  const missed = [
    ...objectTypes.flatMap((owner) =>
      fieldsOf(owner).flatMap((field) =>
        field.args
          .filter((argument) => !attacked.has(argument))
          .map(({ name }) => `${owner.name}.${field.name}.${name}`),
      ),
    ),
    ...inputObjectTypes.flatMap((type) =>
      Object.values(type.getFields())
        .filter((field) => !attacked.has(field))
        .map(({ name }) => `${type.name}.${name}`),
    ),
  ];
  expect(missed).toEqual([]);
});

test('every argument that chooses by a text finds what it names, so that finding nothing means something', async () => {
  const choosing = readPlaces.filter(({ name, type }) => TEXTS.includes(type.name) && !CHOOSES_NOTHING.test(name));
  const blind: string[] = [];
  for (const place of choosing) {
    const { way, argument, below } = place;
    const end = below.at(-1) ?? argument;
    const value =
      argument.name === 'after' && below.length === 0
        ? await firstCursor(way)
        : honestValue(place.name, end.type, witness);
    const { body } = await ask(way, argumentsWith(place, [value].flat()[0], target), witness);
    if (body.errors !== undefined || marksIn(JSON.stringify(body.data)).length === 0)
      blind.push(`${place.name}: ${shorten(body)}`);
  }
  expect(blind).toEqual([]);
  expect(choosing.length).toBeGreaterThan(40);
});

/** Behind the first row of a list; of the feed, where it began. */
async function firstCursor(way: Way): Promise<unknown> {
  const last = way.at(-1);
  if (last?.field.name === 'feed') return witness.feedStart;
  const { body } = await ask(way, { ...honestArguments(way, witness), first: 1 }, witness);
  return /"endCursor":"([^"]+)"/.exec(JSON.stringify(body))?.[1];
}

test('a payload at any argument of a question finds nothing, and no answer tells how it was asked', LONG, async () => {
  const before = await readQuietTables();
  const { wrong, reached } = await attack('arguments of questions', readPlaces, async (place, payload) => [
    await ask(place.way, argumentsWith(place, payload, target), witness),
    place.argument.name,
  ]);
  expect(wrong).toEqual({});
  expect(unreached(readPlaces, reached)).toEqual([]);
  expect(await readTables(herald)).toEqual(before);
});

test('a payload at any argument of a subscription tells of nothing', LONG, async () => {
  for (const [name, value] of Object.entries({ notificationId: witness.notification, requestId: witness.requestId })) {
    const { body } = await watch(name, value);
    expect(marksIn(JSON.stringify(body)), name).not.toEqual([]);
  }
  const { wrong } = await attack('arguments of subscriptions', watchPlaces, async ({ argument: { name } }, payload) => [
    await watch(name, payload),
    name,
  ]);
  expect(wrong).toEqual({});
});

/** The first that is told within 200 ms: a subscription that is well formed may have nothing to tell. */
async function watch(argument: string, value: unknown): Promise<Answer> {
  const type = String(watchPlaces.find((place) => place.argument.name === argument)?.argument.type);
  const query = `subscription ($${argument}: ${type}) { notificationStatusChanged(${argument}: $${argument}) { cursor notification { id requestId user { name } } } }`;
  const left = new AbortController();
  const timer = setTimeout(() => left.abort(), 200);
  try {
    const answer = await fetch(`${herald.url}/graphql/stream`, {
      method: 'POST',
      headers: { authorization: `Bearer ${herald.adminApiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables: { [argument]: value } }),
      signal: left.signal,
    });
    let text = '';
    for await (const chunk of (answer.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const told = /^data: (\{.*)\n\n/m.exec(text)?.[1];
      if (told !== undefined) return { status: answer.status, body: JSON.parse(told) };
      if (answer.status !== 200) break;
    }
    return { status: answer.status, body: answer.status === 200 ? {} : JSON.parse(text) };
  } catch (error) {
    if (left.signal.aborted) return { status: 200, body: {} };
    throw error;
  } finally {
    clearTimeout(timer);
    left.abort();
  }
}

test('a payload at the key by which another subgraph asks finds nothing', LONG, async () => {
  const entities = Object.entries(ENTITIES).map(([name, entity]) => ({ name, ...entity }));
  const askFor = (name: string, { key, selection }: Entity, value: unknown) => {
    const [subgraph, typename] = name.split('.') as ['user' | 'template' | 'notification', string];
    const query = `query ($representations: [_Any!]!) { _entities(representations: $representations) { ... on ${typename} ${selection} } }`;
    const variables = { representations: [{ __typename: typename, [key]: value }] };
    return postSigned(subgraph, JSON.stringify({ query, variables }));
  };
  expect([...Object.keys(ENTITIES), ...ONE_OF_A_KIND].sort()).toEqual(entityNames.toSorted());
  for (const { name, ...entity } of entities)
    expect(marksIn(JSON.stringify(await askFor(name, entity, witness[entity.value]))), name).not.toEqual([]);
  const { wrong } = await attack('keys of entities', entities, async ({ name, ...entity }, payload) => [
    await askFor(name, entity, payload),
    '',
  ]);
  expect(wrong).toEqual({});
});

type Entity = { key: string; value: 'user' | 'template' | 'notification'; selection: string };

const SENT = '{ notifications { edges { node { id } } } }';
const ENTITIES: Record<string, Entity> = {
  'user.User': { key: 'id', value: 'user', selection: '{ id name email }' },
  'notification.User': { key: 'id', value: 'user', selection: SENT },
  'template.Template': { key: 'code', value: 'template', selection: '{ code currentVersion { reason } }' },
  'notification.Template': { key: 'code', value: 'template', selection: SENT },
  'notification.Notification': { key: 'id', value: 'notification', selection: '{ requestId }' },
};
/** Whatever key it is asked by. */
const ONE_OF_A_KIND = ['user.AuditTrail', 'template.AuditTrail', 'notification.AuditTrail'];

test('a payload at any argument of a mutation changes nothing but what the rest of it names', LONG, async () => {
  const before = await readQuietTables();
  const { wrong, reached } = await attack('arguments of mutations', writePlaces, async (place, payload) => [
    await ask(place.way, argumentsWith(place, payload, target), target, 2),
    place.argument.name,
  ]);
  expect(wrong).toEqual({});
  expect(unreached(writePlaces, reached)).toEqual([]);
  const lost = lostRows(before, await readTables(herald));
  expect(
    lost.filter(
      (row) =>
        !Object.values(target.marks)
          .flat()
          .some((mark) => row.includes(mark)),
    ),
  ).toEqual([]);
});

test('a payload in the path or the query of a question over REST finds nothing', LONG, async () => {
  const before = await readQuietTables();
  const { wrong } = await attack('parameters of REST', restPlaces, async ({ path, parameter, isInPath }, payload) => {
    // A URL can carry neither half of a surrogate pair nor anything but text.
    const value = encodeURIComponent(String(payload).toWellFormed());
    const honest: Record<string, string> = { code: target.template };
    const url = path.replace(/\{(\w+)(?:\.\.\.)?\}/g, (_, name: string) => (isInPath ? value : (honest[name] ?? '')));
    return [await herald.rest('GET', isInPath ? url : `${url}?${parameter}=${value}`), isInPath ? '' : parameter];
  });
  expect(wrong).toEqual({});
  expect(await readTables(herald)).toEqual(before);
});
