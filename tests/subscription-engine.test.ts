import { readFile } from 'node:fs/promises';
import { ApolloGateway, type GraphQLDataSource } from '@apollo/gateway';
import { parse } from 'graphql';
import { beforeAll, describe, expect, test } from 'vitest';
import type { StatusEvent } from '../contracts/events.ts';
import { ADMIN } from '../contracts/scopes.ts';
import { deadlineIn } from '../platform/deadline.ts';
import { disableApolloTelemetry } from '../gateway/config.ts';
import { createEngine, type Engine } from '../gateway/subscriptions/engine.ts';
import { createTestLogger } from './test-log.ts';

/**
 * The engine stands on what @apollo/gateway and its planner export without promising it. Whoever moves their version finds here what
 * must still hold.
 */

type Asked = { service: string; query: string; variables: Record<string, unknown> };

const EVENT: StatusEvent = {
  seq: 7,
  notificationId: '01a216a1-b34d-7502-9911-6616cdb2d1ce',
  version: 2,
  type: 'email',
  userId: '01a216a1-b34d-7502-9911-6616cdb2d1cf',
  clientId: 'admin',
  requestId: 'r-7',
  status: 'failed',
  previousStatus: 'pending',
  reason: 'REJECTED',
  attempt: 2,
  at: '2026-11-23T21:07:00.000Z',
};

let supergraph: string;
let engine: Engine;
const asked: Asked[] = [];
let answer: (asked: Asked) => object = () => ({ data: {} });

const source = (service: string): GraphQLDataSource =>
  ({
    process: async ({ request }: { request: { query: string; variables?: Record<string, unknown> } }) => {
      const question = { service, query: request.query, variables: { ...request.variables } };
      asked.push(question);
      return answer(question);
    },
  }) as never;

/** The schema as @apollo/gateway makes it of the supergraph. */
async function load(sdl: string, into: Engine): Promise<void> {
  disableApolloTelemetry();
  const gateway = new ApolloGateway({ supergraphSdl: sdl, buildService: ({ name }) => source(name ?? '') });
  gateway.onSchemaLoadOrUpdate((schemas) => into.load(schemas));
  await gateway.load();
  await gateway.stop();
}

beforeAll(async () => {
  supergraph = await readFile(new URL('../gateway/federation/supergraph.graphql', import.meta.url), 'utf8');
  engine = createEngine({
    services: { user: source('user'), template: source('template'), notification: source('notification') },
    maxCost: 10_000,
    introspection: true,
    log: createTestLogger('engine'),
  });
  await load(supergraph, engine);
});

const run = async (selection: string, variables: Record<string, unknown> = {}, definitions = '') => {
  asked.length = 0;
  const prepared = engine.prepare({
    query: `subscription Watch${definitions} { notificationStatusChanged ${selection} }`,
    variables,
  });
  const context = { viewer: ADMIN, requestId: 'story', deadline: deadlineIn(5_000) };
  return engine.execute(prepared.selection, EVENT, 'the-cursor', context);
};

test('the versions are pinned that this was written for', async () => {
  const read = async (name: string) =>
    JSON.parse(await readFile(new URL(`../node_modules/@apollo/${name}/package.json`, import.meta.url), 'utf8')) as {
      version: string;
    };
  const { dependencies } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  for (const name of ['gateway', 'query-planner', 'federation-internals']) {
    expect(dependencies[`@apollo/${name}`]).toBe('2.14.4');
    expect((await read(name)).version).toBe('2.14.4');
  }
});

describe('an event', () => {
  test('answers by itself what it knows, and nobody is asked', async () => {
    const { data, errors } = await run(`{
      __typename cursor now: status previousStatus reason attempt at
      notification { __typename id requestId user { __typename id } }
    }`);
    expect(errors).toBeUndefined();
    expect(data).toEqual({
      notificationStatusChanged: {
        __typename: 'NotificationStatusEvent',
        cursor: 'the-cursor',
        now: 'FAILED',
        previousStatus: 'PENDING',
        reason: 'REJECTED',
        attempt: 2,
        at: EVENT.at,
        notification: {
          __typename: 'Notification',
          id: EVENT.notificationId,
          requestId: 'r-7',
          user: { __typename: 'User', id: EVENT.userId },
        },
      },
    });
    expect(asked).toEqual([]);
  });

  test('of which only the user is not known asks the user service alone, by its key', async () => {
    answer = () => ({ data: { _entities: [{ name: 'Ada' }] } });
    const { data } = await run('{ status notification { user { name } } }');
    expect(data).toEqual({ notificationStatusChanged: { status: 'FAILED', notification: { user: { name: 'Ada' } } } });
    expect(asked).toMatchObject([
      { service: 'user', variables: { representations: [{ __typename: 'User', id: EVENT.userId }] } },
    ]);
  });

  test('asks the notification service for the rest of its own part, with the event', async () => {
    answer = ({ service }) =>
      service === 'notification'
        ? {
            data: {
              change: { status: 'FAILED', notification: { priority: 5, user: { __typename: 'User', id: 'u' } } },
            },
          }
        : { data: { _entities: [{ name: 'Ada' }] } };
    const prepared = engine.prepare({
      query: `subscription Watch($withName: Boolean!) {
        change: notificationStatusChanged(userId: "${EVENT.userId}") {
          status notification { priority user { name @include(if: $withName) } }
        }
      }`,
      variables: { withName: true },
    });
    asked.length = 0;
    const context = { viewer: ADMIN, requestId: 'story', deadline: deadlineIn(5_000) };
    const { data, errors } = await engine.execute(prepared.selection, EVENT, 'the-cursor', context);
    expect(errors).toBeUndefined();
    expect(data).toEqual({ change: { status: 'FAILED', notification: { priority: 5, user: { name: 'Ada' } } } });
    expect(asked.map(({ service }) => service)).toEqual(['notification', 'user']);
    const [first] = asked;
    expect(parse(first?.query ?? '').definitions).toMatchObject([
      {
        operation: 'query',
        selectionSet: { selections: [{ alias: { value: 'change' }, name: { value: 'statusEvent' } }] },
      },
    ]);
    expect(first?.variables).toMatchObject({
      heraldEvent: {
        cursor: 'the-cursor',
        notificationId: EVENT.notificationId,
        status: 'FAILED',
        previousStatus: 'PENDING',
        reason: 'REJECTED',
        attempt: 2,
        at: EVENT.at,
      },
    });
    expect(prepared.topic).toMatchObject({ userId: EVENT.userId });
  });

  test('keeps what is there when a part fails, and says where it is missing in the words of the client', async () => {
    answer = () => ({
      errors: [{ message: 'away', path: ['_entities', 0], extensions: { code: 'UNAVAILABLE' } }],
      data: { _entities: [null] },
    });
    const { data, errors } = await run('{ was: notification { to: user { name } } cursor }');
    expect(data).toMatchObject({ notificationStatusChanged: { cursor: 'the-cursor', was: { to: null } } });
    expect(errors).toMatchObject([
      { path: ['notificationStatusChanged', 'was', 'to'], extensions: { code: 'UNAVAILABLE' } },
    ]);
  });

  test('a data source that throws is an error of this event, of a kind that every transport can tell', async () => {
    answer = () => {
      throw new Error('broken');
    };
    const { errors } = await run('{ notification { user { name } } }');
    expect(errors?.map((error) => error.toJSON())).toMatchObject([{ message: 'broken' }]);
  });
});

test('whose events is no part of what is selected: those who select the same have one key', () => {
  const keyOf = (query: string, variables = {}) => engine.prepare({ query, variables }).selection.key;
  const first = keyOf('subscription { notificationStatusChanged(notificationId: "a") { status } }');
  expect(keyOf('subscription($id: ID) { notificationStatusChanged(userId: $id) { status } }', { id: 'b' })).toBe(first);
  expect(keyOf('subscription { notificationStatusChanged { status at } }')).not.toBe(first);
  const conditional =
    'subscription($x: Boolean!, $id: ID) { notificationStatusChanged(userId: $id) { status at @skip(if: $x) } }';
  expect(keyOf(conditional, { x: true, id: '1' })).toBe(keyOf(conditional, { x: true, id: '2' }));
  expect(keyOf(conditional, { x: true })).not.toBe(keyOf(conditional, { x: false }));
});

test('a new supergraph is planned anew under living subscriptions; what it has no more is told', async () => {
  const reloaded = createEngine({
    services: { user: source('user'), template: source('template'), notification: source('notification') },
    maxCost: 10_000,
    introspection: true,
    log: createTestLogger('engine'),
  });
  await load(supergraph, reloaded);
  const prepare = (selection: string) =>
    reloaded.prepare({ query: `subscription { notificationStatusChanged { ${selection} } }` }).selection;
  const [kept, lost] = [prepare('status notification { user { name } }'), prepare('status attempt')];
  const changed = supergraph.replace(/ *"""How many hand-overs to a provider there were."""\n *attempt: Int!\n/, '');
  expect(changed).not.toBe(supergraph);
  await load(changed, reloaded);
  answer = () => ({ data: { _entities: [{ name: 'Ada' }] } });
  const context = { viewer: ADMIN, requestId: 'story', deadline: deadlineIn(5_000) };
  expect(await reloaded.execute(kept, EVENT, 'c', context)).toMatchObject({
    data: { notificationStatusChanged: { notification: { user: { name: 'Ada' } } } },
  });
  const gone = await reloaded.execute(lost, EVENT, 'c', context);
  expect(gone.data).toBeUndefined();
  expect(gone.errors?.[0]?.message).toContain('attempt');
});
