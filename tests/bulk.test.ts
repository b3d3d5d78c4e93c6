import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GraphQLRequestError } from '../client/client.ts';
import { SendNotificationsDocument } from '../client/generated/operations.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { isWaiting, withConnection } from './locks.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const SEND = '/api/v1/notifications/';
const LIMIT_BYTES = 2 * 1024 * 1024;
/** On a busy machine a service may take longer than the 2 s that another waits for it; a thousand are then sent anew. */
const PATIENT = { timeoutMs: 40_000 };

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
  user = await givenUser(herald);
  template = await givenTemplate(herald);
});
afterAll(() => herald?.stop());

const countStored = async () =>
  (await herald.sql('notification', 'SELECT count(*)::integer AS stored FROM notification'))[0]?.['stored'];

const toInput = (fields: object = {}) => ({
  notificationType: 'EMAIL' as const,
  userId: user,
  templateCode: template,
  requestId: randomUUID(),
  variables: { name: 'Ada' },
  ...fields,
});
const many = <Item>(count: number, make: (place: number) => Item) => Array.from({ length: count }, (_, i) => make(i));
const send = async (inputs: ReturnType<typeof toInput>[]) =>
  (await herald.graphql(SendNotificationsDocument, { inputs })).sendNotifications;

test('what many are sent in one call is delivered, each once', async () => {
  await herald.startPart('email');
  const results = await send(many(20, () => toInput()));
  await herald.drained();
  await herald.stopPart('email');
  const ids = results.map(({ notification }) => `${notification?.id}@herald.example`);
  expect((await herald.mails()).map(({ MessageID }) => MessageID).sort()).toEqual(ids.sort());
});

describe('many over GraphQL', { timeout: 60_000 }, () => {
  test('a thousand are accepted in one call, each with its own result, in order; faulty ones fail alone', async () => {
    const templateCode = await givenTemplate(herald);
    const faults = new Map([
      [0, { change: { userId: randomUUID() }, code: 'NOT_FOUND', field: 'userId' }],
      [1, { change: { userId: 'ada' }, code: 'BAD_USER_INPUT', field: 'userId' }],
      [500, { change: { templateCode: 'no/such' }, code: 'NOT_FOUND', field: 'templateCode' }],
      [501, { change: { priority: 11 }, code: 'BAD_USER_INPUT', field: 'priority' }],
      [502, { change: { variables: {} }, code: 'UNPROCESSABLE', field: 'variables.name' }],
      [503, { change: { sendAt: '0000-01-01T00:00:00Z' }, code: 'BAD_USER_INPUT', field: 'sendAt' }],
      [504, { change: { expiresAt: '0000-12-31T23:59:59Z' }, code: 'BAD_USER_INPUT', field: 'expiresAt' }],
      [999, { change: { requestId: '' }, code: 'BAD_USER_INPUT', field: 'requestId' }],
    ]);
    const { before, inputs, results } = await until(async () => {
      const fresh = many(1_000, (place) => toInput({ templateCode, ...faults.get(place)?.change }));
      const stored = await countStored();
      const answers = await send(fresh);
      return (
        !answers.some(({ error }) => error?.code === 'UNAVAILABLE') && {
          before: stored,
          inputs: fresh,
          results: answers,
        }
      );
    }, PATIENT);
    expect(results).toHaveLength(1_000);
    results.forEach((result, place) => {
      const fault = faults.get(place);
      if (fault === undefined) {
        const notification = { status: 'PENDING', requestId: inputs[place]?.requestId };
        expect(result, `${place}`).toMatchObject({ notification, duplicate: false, error: null });
      } else {
        const { code, field } = fault;
        const error = { code, field, message: expect.stringContaining(field.split('.').at(-1) ?? '') };
        expect(result, `${place}`).toMatchObject({ notification: null, duplicate: false, error });
      }
    });
    expect(new Set(results.map(({ notification }) => notification?.id)).size).toBe(1_000 - faults.size + 1);
    expect(await countStored()).toBe(before + 1_000 - faults.size);

    // The whole call again: the same notifications, and nothing new.
    const again = await send(inputs);
    expect(again.map(({ notification }) => notification?.id)).toEqual(
      results.map(({ notification }) => notification?.id),
    );
    expect(again.filter(({ duplicate }) => duplicate)).toHaveLength(1_000 - faults.size);
    expect(await countStored()).toBe(before + 1_000 - faults.size);
  });

  test('a requestId that occurs several times in one call is one notification; with other content it is a conflict', async () => {
    const before = await countStored();
    const first = toInput();
    const results = await send([first, toInput(), first, { ...first, variables: { name: 'Zoë' } }, first]);
    const { id } = results[0]?.notification ?? {};
    expect(results).toMatchObject([
      { notification: { id }, duplicate: false },
      { duplicate: false },
      { notification: { id }, duplicate: true },
      { notification: null, error: { code: 'CONFLICT', field: 'requestId' } },
      { notification: { id }, duplicate: true },
    ]);
    expect(await countStored()).toBe(before + 2);
  });

  test.each([0, 1_001])('%i in one call are refused as a whole', async (count) => {
    const before = await countStored();
    const refused = await send(many(count, () => toInput())).catch((error: GraphQLRequestError) => error);
    expect(refused).toMatchObject({ code: 'BAD_USER_INPUT', field: 'inputs' });
    expect(await countStored()).toBe(before);
  });
});

describe('many over REST', { timeout: 60_000 }, () => {
  const toBody = (fields: object = {}) => sendBody(user, template, fields);

  test('an array is answered with an item for each, in order; faulty ones fail alone', async () => {
    const { bodies, body } = await until(async () => {
      const fresh = many(1_000, () => toBody());
      fresh[3] = toBody({ user_id: randomUUID() });
      fresh[4] = toBody({ variables: {} });
      fresh[5] = fresh[2] ?? toBody();
      const answer = await herald.rest('POST', SEND, fresh);
      expect(answer.status).toBe(202);
      return (
        !answer.body.some(({ status }: { status: unknown }) => status === 503) && { bodies: fresh, body: answer.body }
      );
    }, PATIENT);
    expect(body).toHaveLength(1_000);
    body.forEach((item: object, place: number) => {
      if (place === 3 || place === 4) return;
      const accepted = { status: 'pending', request_id: bodies[place]?.request_id, duplicate: place === 5 };
      expect(item, `${place}`).toEqual({ ...accepted, notification_id: expect.any(String) });
    });
    expect(body[3]).toMatchObject({ status: 404, code: 'NOT_FOUND', field: 'user_id' });
    expect(body[3].message).toMatch(/^user_id\b/);
    expect(body[4]).toMatchObject({ status: 422, code: 'UNPROCESSABLE', field: 'variables.name' });
    expect(body[5].notification_id).toBe(body[2].notification_id);
  });

  test.each<[string, unknown, string]>([
    ['without a type', { notification_type: undefined }, 'notification_type'],
    ['with an unknown field', { colour: 'red' }, 'colour'],
    ['without a request_id', { request_id: undefined }, 'request_id'],
    ['with a priority beyond all numbers', { priority: 2 ** 40 }, 'priority'],
    ['with a time that is none', { send_at: 'tomorrow' }, 'send_at'],
    ['with half a time', { send_at: '2026-11-23T10:00Z' }, 'send_at'],
    ['with a time before all times', { send_at: '0000-01-01T00:00:00Z' }, 'send_at'],
    ['that is no object', 'ada', ''],
  ])('an item %s fails alone', async (_, change, field) => {
    const before = await countStored();
    const faulty = typeof change === 'object' ? toBody(change ?? {}) : change;
    const bodies = [toBody(), faulty, toBody()];
    const { status, body } = await herald.rest('POST', SEND, bodies);
    expect(status).toBe(202);
    expect(body).toMatchObject([
      { status: 'pending' },
      { status: 400, code: 'BAD_USER_INPUT', field, message: expect.stringContaining(field) },
      { status: 'pending' },
    ]);
    expect(await countStored()).toBe(before + 2);
    expect(await herald.rest('POST', SEND, [faulty])).toMatchObject({ status: 202, body: [{ status: 400, field }] });
  });

  test('one that PostgreSQL refuses fails alone, with what little can be said', async () => {
    await herald.sql('notification', `ALTER TABLE content ADD CONSTRAINT story CHECK (metadata->>'odd' IS NULL)`);
    const before = await countStored();
    const { status, body } = await herald.rest('POST', SEND, [toBody(), toBody({ metadata: { odd: 1 } }), toBody()]);
    expect(status).toBe(202);
    const refused = { status: 500, code: 'INTERNAL', field: null, message: expect.stringContaining('request id') };
    expect(body).toMatchObject([{ status: 'pending' }, refused, { status: 'pending' }]);
    expect(await countStored()).toBe(before + 2);
    await herald.sql('notification', 'ALTER TABLE content DROP CONSTRAINT story');
  });

  test.each<[string, () => unknown[]]>([
    ['none', () => []],
    ['1,001', () => many(1_001, () => toBody())],
  ])('an array of %s is refused as a whole', async (_, make) => {
    const before = await countStored();
    expectProblem(await herald.rest('POST', SEND, make()), 400, ['']);
    expect(await countStored()).toBe(before);
  });
});

test('with PostgreSQL holding everything up, sends are answered 503 in time, and none is stored', async () => {
  const before = await countStored();
  const answers = await withConnection(herald, async (connection) => {
    await connection.query('BEGIN; LOCK TABLE request_key IN ACCESS EXCLUSIVE MODE');
    const first = herald.rest('POST', SEND, sendBody(user, template));
    await until(() => isWaiting(herald, 'FROM request_key'));
    const others = await Promise.all(many(20, () => herald.rest('POST', SEND, sendBody(user, template))));
    await connection.query('ROLLBACK');
    expect((await first).status).toBe(202);
    return others;
  });
  for (const answer of answers) {
    expectProblem(answer, 503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  }
  expect(await countStored()).toBe(before + 1);
});

describe('the body of many', () => {
  /** The request of 20 sends with this many bytes more, and no more. */
  const paddedTo = (bytes: number, make: (padding: string) => unknown): string => {
    const bare = Buffer.byteLength(JSON.stringify(make('')));
    return JSON.stringify(make('x'.repeat(bytes - bare)));
  };
  const inputs = (padding: string) => many(20, (place) => toInput(place === 0 ? { metadata: { padding } } : {}));
  const doors: [string, string, (padding: string) => unknown][] = [
    [
      'REST',
      SEND,
      (padding) => many(20, (place) => sendBody(user, template, place === 0 ? { metadata: { padding } } : {})),
    ],
    [
      'GraphQL',
      '/graphql',
      (padding) => ({ query: SendNotificationsDocument.toString(), variables: { inputs: inputs(padding) } }),
    ],
  ];

  test.each(doors)('over %s may have 2 MiB, and no more', async (_, path, make) => {
    const before = await countStored();
    const { status } = await herald.rest('POST', path, paddedTo(LIMIT_BYTES, make));
    expect(status).toBe(path === SEND ? 202 : 200);
    expect(await countStored()).toBe(before + 20);
    const answer = await herald.rest('POST', path, paddedTo(LIMIT_BYTES + 1, make));
    if (path === SEND) expectProblem(answer, 413);
    else
      expect(answer).toMatchObject({
        status: 413,
        body: { errors: [{ extensions: { code: 'PAYLOAD_TOO_LARGE', requestId: expect.any(String) } }] },
      });
    expect(await countStored()).toBe(before + 20);
  });
});
