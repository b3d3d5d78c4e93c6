import type { GraphQLObjectType } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { createClient } from '../../client/client.ts';
import {
  CreateApiKeyDocument,
  LogInDocument,
  NotificationStatsDocument,
  RevokeApiKeyDocument,
  SuppressDocument,
} from '../../client/generated/operations.ts';
import { CLIENT_SCOPES, SCOPES, toUserViewer, type Scope } from '../../contracts/scopes.ts';
import { scopesOf } from '../../platform/enforce-scopes.ts';
import { routesOf, TAGS } from '../../rest/table.ts';
import { startHerald, type Herald } from '../start.ts';
import { until } from '../until.ts';
import { failAt, givenWorld, sendAs, type World } from './given-world.ts';
import { argumentsWith, honestArguments, honestValue, TEXTS } from './honest-values.ts';
import {
  fieldsOf,
  isInaccessible,
  mutationRoot,
  nameOf,
  objectOf,
  placesOf,
  queryRoot,
  type Field,
  type Way,
} from './supergraph.ts';
import { lostRows, readTables } from './table-rows.ts';
import { questionAlong } from './way-query.ts';

/** Objects from the root on; a page of a list is three of them. */
const MAX_DEPTH = 7;
const AT_ONCE = 16;
const LONG = { timeout: 240_000 };

/** Every way through the public graph, to its end or so deep. */
function waysFrom(owner: GraphQLObjectType, before: Way): Way[] {
  const onward = fieldsOf(owner).flatMap((field) => {
    const next = isInaccessible(field) ? null : objectOf(field);
    return next === null ? [] : [{ step: { owner, field }, next }];
  });
  if (onward.length === 0 || before.length === MAX_DEPTH) return [before];
  return onward.flatMap(({ step, next }) => waysFrom(next, [...before, step]));
}
const ways = waysFrom(queryRoot, []);
/** Every text that chooses, along the shortest of the ways that lead to it. */
const filters = [
  ...new Map(
    ways
      .flatMap((way) => way.map((_, depth) => way.slice(0, depth + 1)))
      .sort((a, b) => b.length - a.length)
      .map((way) => [nameOf(way.at(-1) as Way[number]), way]),
  ).values(),
]
  .flatMap(placesOf)
  .filter(({ type }) => TEXTS.includes(type.name));

let herald: Herald;
let mine: World;
let theirs: World;
/** What their client sent to my user, from my template. */
let crossing: string;
/** In its metadata, and in what its provider said. */
const CROSSING = 'crossingwords';
/** Why their client wants nothing sent to my user from my template. */
const CLOSED = 'closedbythem';

type Viewer = { credential: string; scopes: readonly string[]; forbidden: string[] };
type ViewerName = 'a client with every scope' | 'a client that only reads and sends' | 'a user';
let viewers: Record<ViewerName, Viewer>;
/** Of the admin, their client and their user: between them they may be told of all of the other world. */
let controls: string[];

const READING: Scope[] = ['users:read', 'templates:read', 'notifications:read', 'notifications:send'];

beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  mine = await givenWorld(herald, 'mine');
  theirs = { ...(await givenWorld(herald, 'theirs')), feedStart: mine.feedStart };
  crossing = await sendAs(herald, theirs.key, mine.user, mine.template, {
    request_id: 'request-crossing',
    metadata: { words: CROSSING },
  });
  await failAt(herald, crossing, CROSSING, mine.email);
  const closing = {
    notificationType: 'EMAIL',
    userId: mine.user,
    templateCode: mine.template,
    reason: CLOSED,
  } as const;
  await createClient({ url: herald.url, apiKey: theirs.key }).request(SuppressDocument, { input: closing });
  const suppressed = await sendAs(herald, mine.key, mine.user, mine.template, {});
  await failAt(herald, suppressed, 'suppressed', mine.email, 'SUPPRESSED');
  await herald.graphql(SuppressDocument, { input: { notificationType: 'EMAIL', address: mine.email, reason: 'ours' } });
  const ending = {
    clientId: 'client-ending',
    name: 'ending',
    scopes: READING,
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
  };
  const { apiKey } = (await herald.graphql(CreateApiKeyDocument, { input: ending })).createApiKey;
  await herald.graphql(RevokeApiKeyDocument, { id: apiKey.id });
  await until(async () => (await herald.sql('notification', 'SELECT FROM feed_in')).length === 0);

  const logIn = async (email: string) => {
    const { logIn: session } = await createClient({ url: herald.url, apiKey: '' }).request(LogInDocument, {
      email,
      password: 'correct horse',
    });
    return session.accessToken;
  };
  const input = { clientId: mine.client, name: 'reading', scopes: READING };
  const { marks } = theirs;
  const sent = [...marks.sent, ...marks.key, crossing, 'request-crossing', CROSSING];
  viewers = {
    // Users, templates and suppressions are there for every client that has the scope.
    'a client with every scope': {
      credential: mine.key,
      scopes: [...CLIENT_SCOPES, 'notifications:inspect'],
      forbidden: sent,
    },
    'a client that only reads and sends': {
      credential: (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey.key,
      scopes: [...READING, 'notifications:inspect'],
      forbidden: [...sent, ...marks.client, ...marks.closed, CLOSED],
    },
    // What was sent to them is theirs, whoever sent it; the words about it are its sender's.
    'a user': {
      credential: await logIn(mine.email),
      scopes: toUserViewer('').scopes,
      forbidden: [...Object.values(marks).flat(), CROSSING, CLOSED],
    },
  };
  controls = [herald.adminApiKey, theirs.key, await logIn(theirs.email)];
});
afterAll(() => herald?.stop());

type Question = { name: string; query: string; variables: Record<string, unknown> };

/** Small pages, so that pages within pages cost little; what would leak is newer, so it would come first. */
const withPages = ({ field }: Way[number], args: Record<string, unknown>) =>
  field.args.some(({ name }) => name === 'first') ? { ...args, first: field.name === 'feed' ? 200 : 4 } : args;

/**
 * Every way with one world's values, and every filter with the other's among them: whole, and then without what these scopes don't
 * open, for one field that is refused can hide all that stands around it.
 */
function questionsOf(world: World, other: World, scopes: readonly string[]): Question[] {
  const isClosed = (field: Field) => scopesOf(field.astNode?.directives).some((scope) => !scopes.includes(scope));
  const along = (name: string, way: Way, levels: number, last?: Record<string, unknown>): Question[] => {
    const argumentsAt = (depth: number) => {
      const honest = honestArguments(way.slice(0, depth + 1), world);
      return withPages(way[depth] as Way[number], depth === way.length - 1 ? (last ?? honest) : honest);
    };
    const ask = (isLeftOut: (field: Field) => boolean) => ({
      name,
      ...questionAlong(way, argumentsAt, { levels, isWide: true, isLeftOut }),
    });
    const [whole, open] = [ask(() => false), ask(isClosed)];
    return whole.query === open.query ? [whole] : [whole, open];
  };
  return [
    ...ways.flatMap((way) => along(way.map(nameOf).join(' '), way, 1)),
    ...filters.flatMap((place) => {
      const { way, argument, below } = place;
      const [value] = [honestValue(place.name, (below.at(-1) ?? argument).type, other)].flat();
      return along(place.name, way, 4, argumentsWith(place, value, world));
    }),
  ];
}

type Answer = { data?: unknown; errors?: { message: string; extensions: { code: string } }[] };

const askAll = (questions: readonly Question[], credential: string, look: (question: Question, body: Answer) => void) =>
  inParallel(questions, async (question) => {
    const { query, variables } = question;
    look(question, (await herald.rest('POST', '/graphql', { query, variables }, by(credential))).body);
  });

async function inParallel<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values();
  const workOn = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, workOn));
}

const by = (credential: string) => ({ authorization: `Bearer ${credential}` });

/** Which of these an answer tells; that a question's own words come back tells nothing. */
function toldOf(marks: readonly string[], answer: unknown, asked: unknown): string[] {
  const words = stringsIn(asked).map((word) => JSON.stringify(word).slice(1, -1));
  const text = words.reduce((left, word) => left.replaceAll(word, ''), JSON.stringify(answer ?? null));
  return marks.filter((mark) => text.includes(mark));
}

function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return value === '' ? [] : [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

/** What a viewer may be told instead of an answer. */
const REFUSALS = ['FORBIDDEN', 'NOT_FOUND', 'BAD_USER_INPUT', 'UNPROCESSABLE', 'CONFLICT'];

const VIEWERS: ViewerName[] = ['a client with every scope', 'a client that only reads and sends', 'a user'];

test.each(VIEWERS)('%s is told nothing of what is the other’s, whichever way they ask', LONG, async (name) => {
  const { credential, scopes, forbidden } = viewers[name];
  const questions = [...questionsOf(mine, theirs, scopes), ...questionsOf(theirs, mine, scopes)];
  const told: Record<string, string[]> = {};
  const codes: Record<string, number> = {};
  await askAll(questions, credential, (question, answer) => {
    const leaked = toldOf(forbidden, answer, question.variables);
    if (leaked.length > 0) told[question.name] = leaked;
    for (const code of answer.errors?.map(({ extensions }) => extensions.code) ?? ['answered'])
      codes[code] = (codes[code] ?? 0) + 1;
  });
  console.log(`${name}: ${questions.length} questions: ${JSON.stringify(codes)}`);
  expect(told).toEqual({});
  expect(Object.keys(codes).filter((code) => code !== 'answered' && !REFUSALS.includes(code))).toEqual([]);
});

/** Nothing of these worlds fills them. */
const UNFILLED = [
  // The sends that are explained are the least that a send can be.
  'SendExplanation.expiresAt',
  // No variable of these templates must be given.
  'SendExplanation.missingVariables',
  // The sends that are explained are mails; previewTemplate shows the same of a push message.
  'SendPreview.push',
];

test('the same ways tell those who may know of all that is the other’s, and reach every field', LONG, async () => {
  for (const [provider, state] of [
    ['smtp', 'open'],
    ['sendgrid', 'closed'],
  ])
    await herald.sql('worker', `SELECT note_provider('story', 'email', $1, $2, 'its own words')`, [provider, state]);
  const marks = [...Object.values(theirs.marks).flat(), crossing, 'request-crossing', CROSSING, CLOSED];
  // What names nobody fills the refusals.
  const nowhere = { ...mine, template: 'none' };
  const seen = new Set<string>();
  const filled = new Set<string>();
  for (const credential of controls)
    await askAll(
      [...questionsOf(theirs, theirs, SCOPES), ...questionsOf(mine, nowhere, SCOPES)],
      credential,
      (_, { data }) => {
        for (const mark of toldOf(marks, data, [])) seen.add(mark);
        noteFilled(data, 'Query', filled);
      },
    );
  expect(marks.filter((mark) => !seen.has(mark))).toEqual([]);
  const owners = new Set(ways.flat().flatMap(({ owner, field }) => [owner, objectOf(field) ?? owner]));
  const reachable = [...owners].flatMap((owner) =>
    fieldsOf(owner)
      .filter((field) => !isInaccessible(field))
      .map((field) => nameOf({ owner, field })),
  );
  console.log(
    `${ways.length} ways and ${filters.length} filters reach ${reachable.length} fields of ${owners.size} types`,
  );
  expect(reachable.filter((field) => !filled.has(field)).sort()).toEqual(UNFILLED);
});

/** The fields that an answer has something in. */
function noteFilled(value: unknown, owner: string, filled: Set<string>): void {
  if (Array.isArray(value)) value.forEach((item) => noteFilled(item, owner, filled));
  else if (typeof value === 'object' && value !== null) {
    const name = '__typename' in value ? String(value.__typename) : owner;
    for (const [field, part] of Object.entries(value)) {
      if (part === null || (Array.isArray(part) && part.length === 0)) continue;
      filled.add(`${name}.${field}`);
      noteFilled(part, '', filled);
    }
  }
}

test.each(VIEWERS)('%s is told nothing of it over REST', LONG, async (name) => {
  const { credential, forbidden } = viewers[name];
  const of = ({ notification, user, template, requestId }: World): Record<string, string> => ({
    notification_id: notification,
    user_id: user,
    code: template,
    template_code: template,
    request_id: requestId,
  });
  const paths = routesOf(TAGS).filter(({ method }) => method === 'GET');
  const urls = [mine, theirs].flatMap((world) =>
    paths.flatMap(({ path, query }) => {
      const values = of(world);
      const url = path.replace(/\{(\w+)(?:\.\.\.)?\}/g, (_, parameter: string) => values[parameter] ?? '');
      const parameters = query instanceof z.ZodObject ? Object.keys(query.shape) : [];
      const filtered = parameters.filter((parameter) => parameter in values);
      return [
        url,
        ...filtered.map((parameter) => `${url}?${parameter}=${encodeURIComponent(values[parameter] ?? '')}`),
      ];
    }),
  );
  const answers: string[] = [];
  for (const url of urls) {
    const { status, body } = await herald.rest('GET', url, undefined, by(credential));
    answers.push(`${status}`);
    expect(toldOf(forbidden, body, [...Object.values(of(theirs))]), url).toEqual([]);
    expect([200, 401, 403, 404], url).toContain(status);
  }
  expect(answers.filter((status) => status === '200').length).toBeGreaterThan(name === 'a user' ? 2 : 5);
});

test('what is counted for a client is its own', async () => {
  const since = new Date(Date.now() - 3_600_000).toISOString();
  for (const { key, client } of [mine, theirs]) {
    const [sent] = await herald.sql('notification', 'SELECT count(*)::integer FROM notification WHERE client_id = $1', [
      client,
    ]);
    const { notificationStats } = await createClient({ url: herald.url, apiKey: key }).request(
      NotificationStatsDocument,
      { since },
    );
    expect(notificationStats.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(sent?.['count']);
  }
});

test.each(VIEWERS)('%s changes nothing of it, and is told nothing for trying', LONG, async (name) => {
  const { credential, scopes, forbidden } = viewers[name];
  // Whoever has these scopes may change every user, template and suppression; a user's token has them for that user.
  const isShared = (scope: string) => name !== 'a user' && /^(users|templates|suppressions):/.test(scope);
  const mutations = fieldsOf(mutationRoot).filter(
    (field) =>
      !isInaccessible(field) &&
      !scopesOf(field.astNode?.directives).some((scope) => isShared(scope) && scopes.includes(scope)),
  );
  const before = await readTables(herald);
  const told: Record<string, string[]> = {};
  for (const field of mutations) {
    const way = [{ owner: mutationRoot, field }];
    const question = questionAlong(way, () => honestArguments(way, theirs), { levels: 3 });
    const { body } = await herald.rest('POST', '/graphql', question, by(credential));
    told[field.name] = toldOf(forbidden, body, question.variables);
  }
  expect(Object.entries(told).filter(([, marks]) => marks.length > 0)).toEqual([]);
  expect(Object.keys(told).length).toBeGreaterThan(10);
  expect(lostRows(before, await readTables(herald))).toEqual([]);
});
