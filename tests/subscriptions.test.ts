import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../client/client.ts';
import { CreateApiKeyDocument, LogInDocument } from '../client/generated/operations.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { brokerKinds, startHerald, type Herald } from './start.ts';
import { withConnection } from './locks.ts';
import { until } from './until.ts';
import { watch as watchAt, type Watch } from './watch.ts';

const PASSWORD = 'correct horse battery';

describe.each(brokerKinds)('live status over %s', (broker) => {
  let herald: Herald;
  let user: string;
  let template: string;
  const watches: Watch[] = [];
  beforeAll(async () => {
    herald = await startHerald({ broker, parts: ['user', 'template', 'notification', 'gateway'] });
    [user, template] = [await givenUser(herald), await givenTemplate(herald)];
  });
  afterEach(async () => {
    for (const one of watches.splice(0)) await one.stop();
  });
  afterAll(() => herald?.stop());

  const watch = (...[args, options]: Parameters<typeof watchAt> extends [unknown, ...infer Rest] ? Rest : never) => {
    const one = watchAt(herald, args, options);
    watches.push(one);
    return one;
  };
  const send = async (fields: { user?: string; request_id?: string } = {}, key = herald.adminApiKey) => {
    const { user: to = user, ...others } = fields;
    const body = sendBody(to, template, others);
    const answer = await herald.rest('POST', '/api/v1/notifications/', body, { authorization: `Bearer ${key}` });
    return { id: answer.body.notification_id as string, requestId: answer.body.request_id as string };
  };
  /** Without a worker nothing happens by itself. */
  const report = (id: string, status = 'delivered') =>
    herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status });
  const newKey = async (scopes = ['notifications:send', 'notifications:read']) => {
    const clientId = `client-${randomUUID().slice(0, 8)}`;
    const input = { clientId, name: 'a story', scopes };
    return (await herald.graphql(CreateApiKeyDocument, { input })).createApiKey.key;
  };
  const logIn = async () => {
    const email = `${randomUUID()}@example.com`;
    const id = await givenUser(herald, { email, password: PASSWORD });
    const { logIn: session } = await createClient({ url: herald.url }).request(LogInDocument, {
      email,
      password: PASSWORD,
    });
    return { id, token: session.accessToken };
  };
  const statuses = ({ events }: Watch) => events.map(({ previousStatus, status }) => [previousStatus, status]);

  test('a notification is watched from the state it is in to its end', async () => {
    const { id, requestId } = await send();
    const watched = watch(`(notificationId: "${id}")`);
    await until(() => watched.events.length === 1);
    await report(id);
    await until(() => watched.events.length === 2);
    expect(watched.events).toEqual([
      {
        cursor: expect.any(String),
        status: 'PENDING',
        previousStatus: null,
        reason: null,
        attempt: 0,
        at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        notification: { id, requestId },
      },
      expect.objectContaining({ status: 'DELIVERED', previousStatus: 'PENDING', notification: { id, requestId } }),
    ]);
    expect(watched.results.flatMap(({ errors }) => errors ?? [])).toEqual([]);
  });

  test('the state of a notification whose change waits for its number comes once, also to whoever comes back', async () => {
    const { id, watched } = await withConnection(herald, async (connection) => {
      // The numberer's.
      await connection.query('SELECT pg_advisory_lock(7201129)');
      const { id } = await send();
      const watched = watch(`(notificationId: "${id}")`);
      await until(() => watched.events.length > 0, { timeoutMs: 300 }).catch(() => {});
      return { id, watched };
    });
    await until(() => watched.events.length === 1);
    await until(async () => (await herald.sql('notification', 'SELECT FROM feed_in')).length === 0);
    const resumed = watch(`(notificationId: "${id}", after: "${watched.events[0]?.cursor}")`);
    await report(id);
    for (const one of [watched, resumed]) await until(() => one.events.at(-1)?.status === 'DELIVERED');
    expect(statuses(watched)).toEqual([
      [null, 'PENDING'],
      ['PENDING', 'DELIVERED'],
    ]);
    expect(resumed.events).toEqual(watched.events.slice(1));
  });

  test('of a requestId that several clients used, the admin is told the state of each, from any of them on', async () => {
    const requestId = randomUUID();
    const ids: string[] = [];
    for (const key of [await newKey(), await newKey(), await newKey()])
      ids.push((await send({ request_id: requestId }, key)).id);
    const [first = '', second = '', third = ''] = ids;
    await report(first);
    const watched = watch(`(requestId: "${requestId}")`);
    await until(() => watched.events.length === 3);
    const seen = (one: Watch) => one.events.map(({ notification, status }) => `${notification.id} ${status}`);
    expect(seen(watched)).toEqual([`${second} PENDING`, `${third} PENDING`, `${first} DELIVERED`]);
    const resumed = watched.events.map(({ cursor }) => watch(`(requestId: "${requestId}", after: "${cursor}")`));
    await report(third);
    for (const [index, one] of resumed.entries()) {
      await until(() => one.events.at(-1)?.notification.id === third && one.events.at(-1)?.status === 'DELIVERED');
      const last = `${third} DELIVERED`;
      expect(seen(one)).toEqual([...seen(watched).slice(index + 1, 3), last]);
    }
  });

  test('a request is watched before it is sent; a user, and everything, from now on', async () => {
    const before = await send();
    await until(async () => (await herald.sql('notification', 'SELECT FROM feed_in')).length === 0);
    const requestId = randomUUID();
    const byRequest = watch(`(requestId: "${requestId}")`);
    const byUser = watch(`(userId: "${user.toUpperCase()}")`);
    const all = watch('');
    // Nothing says when they have begun: what comes of this one does.
    const other = await until(async () => {
      const { id } = await send();
      await report(id);
      const isSeen = [byUser, all].every(({ events }) => events.some(({ notification }) => notification.id === id));
      return isSeen && id;
    });
    const { id } = await send({ request_id: requestId });
    await report(id, 'failed');
    await until(() => [byRequest, byUser, all].every((one) => one.events.at(-1)?.status === 'FAILED'));
    expect(statuses(byRequest)).toEqual([
      [null, 'PENDING'],
      ['PENDING', 'FAILED'],
    ]);
    for (const { events } of [byUser, all]) {
      const ids = events.map(({ notification }) => notification.id);
      expect(ids.filter((seen) => seen === id)).toHaveLength(2);
      expect(ids).toContain(other);
      expect(ids).not.toContain(before.id);
    }
  });

  test('whoever comes back with any cursor misses nothing and sees nothing twice', async () => {
    const byUser = watch(`(userId: "${user}")`);
    await until(async () => {
      await send();
      return byUser.events.length > 0;
    });
    const ids = await Promise.all(Array.from({ length: 5 }, async () => (await send()).id));
    await Promise.all(ids.map((id) => report(id)));
    await until(() =>
      ids.every((id) => byUser.events.filter(({ notification }) => notification.id === id).length === 2),
    );
    const { events } = byUser;
    const resumed = events.map(({ cursor }) => watch(`(userId: "${user}", after: "${cursor}")`));
    const last = (await send()).id;
    await until(() => resumed.every((one) => one.events.at(-1)?.notification.id === last));
    for (const [index, one] of resumed.entries()) {
      expect(one.events.map(({ cursor }) => cursor)).toEqual([
        ...events.slice(index + 1).map(({ cursor }) => cursor),
        one.events.at(-1)?.cursor,
      ]);
    }
  });

  test('aliases, fragments, variables, @skip and @include, and fields of other subgraphs', async () => {
    const { id } = await send();
    const watched = watch({
      operationName: 'Watch',
      query: `
        subscription Watch($id: ID!, $withMail: Boolean!, $withCode: Boolean = false, $first: Int = 1) {
          change: notificationStatusChanged(notificationId: $id) { now: status ...Rest }
        }
        fragment Rest on NotificationStatusEvent {
          __typename
          of: notification {
            status
            to: user { name email @include(if: $withMail) notifications(first: $first) { edges { node { id } } } }
            template { code @skip(if: $withCode) currentVersion { missingLocales } }
          }
        }
        query Other { __typename }`,
      variables: { id, withMail: true },
    });
    await until(() => watched.results.length === 1);
    await report(id);
    await until(() => watched.results.length === 2);
    const [first, second] = watched.results.map(({ data }) => data as never);
    expect(watched.results.flatMap(({ errors }) => errors ?? [])).toEqual([]);
    const shared = {
      to: { name: 'Ada Lovelace', email: expect.stringContaining('@'), notifications: { edges: [{ node: { id } }] } },
      template: { code: template, currentVersion: { missingLocales: [] } },
    };
    expect(first).toMatchObject({ change: { now: 'PENDING', __typename: 'NotificationStatusEvent', of: shared } });
    // What it was then, and what the notification is now.
    expect(second).toMatchObject({ change: { now: 'DELIVERED', of: { status: 'DELIVERED', ...shared } } });
  });

  test('a client sees its own, a user what is theirs, whoever they ask for', async () => {
    const [mine, others] = [await newKey(), await newKey()];
    const ada = await logIn();
    const client = watch(`(userId: "${ada.id}")`, { credential: mine });
    const person = watch('', { credential: ada.token });
    await until(async () => {
      await send({ user: ada.id }, mine);
      return client.events.length > 0 && person.events.length > 0;
    });
    const foreign = await send({ user: ada.id }, others);
    const elsewhere = await send({}, mine);
    const last = await send({ user: ada.id }, mine);
    await until(() => client.events.at(-1)?.notification.id === last.id);
    await until(() => person.events.at(-1)?.notification.id === last.id);
    const seen = (one: Watch) => one.events.map(({ notification }) => notification.id);
    expect(seen(client)).not.toContain(foreign.id);
    expect(seen(person)).toContain(foreign.id);
    expect(seen(client)).not.toContain(elsewhere.id);
    expect(seen(person)).not.toContain(elsewhere.id);
    // Nor by its id, its requestId, or a cursor from before it.
    const cursor = client.events[0]?.cursor ?? '';
    const byId = watch(`(notificationId: "${foreign.id}")`, { credential: mine });
    expect(await byId.ended).toBeNull();
    expect(byId.errors()).toMatchObject([{ extensions: { code: 'NOT_FOUND', field: 'notificationId' } }]);
    const byRequest = watch(`(requestId: "${foreign.requestId}")`, { credential: mine });
    const resumed = watch(`(userId: "${ada.id}", after: "${cursor}")`, { credential: mine });
    await until(() => resumed.events.at(-1)?.notification.id === last.id);
    expect(seen(resumed)).not.toContain(foreign.id);
    expect(byRequest.results).toEqual([]);
  });

  describe('refuses', () => {
    let key: string;
    let ada: { id: string; token: string };
    let id: string;
    beforeAll(async () => {
      key = await newKey();
      ada = await logIn();
      id = (await send()).id;
    });
    const refusals: [string, () => Watch, object][] = [
      [
        'an unknown notification',
        () => watch(`(notificationId: "${randomUUID()}")`),
        { code: 'NOT_FOUND', field: 'notificationId' },
      ],
      ['an id that is none', () => watch('(notificationId: "1")'), { code: 'BAD_USER_INPUT', field: 'notificationId' }],
      ['a user id that is none', () => watch('(userId: "ada")'), { code: 'BAD_USER_INPUT', field: 'userId' }],
      [
        'a requestId that can be none',
        () => watch('(requestId: "a\\u0000b")'),
        { code: 'BAD_USER_INPUT', field: 'requestId' },
      ],
      ['a forged cursor', () => watch('(after: "AAAA")'), { code: 'BAD_USER_INPUT', field: 'after' }],
      [
        'several arguments',
        () => watch(`(notificationId: "${id}", userId: "${user}")`),
        { code: 'BAD_USER_INPUT', field: 'notificationId' },
      ],
      [
        'a client without an argument',
        () => watch('', { credential: key }),
        { code: 'BAD_USER_INPUT', field: 'notificationId' },
      ],
      [
        "another user's, for a user",
        () => watch(`(userId: "${user}")`, { credential: ada.token }),
        { code: 'FORBIDDEN', field: 'userId' },
      ],
      ['a query', () => watch({ query: '{ __typename }' }), { code: 'BAD_USER_INPUT' }],
      [
        'a mutation',
        () => watch({ query: `mutation { cancelNotification(id: "${id}") { cancelled } }` }),
        { code: 'BAD_USER_INPUT' },
      ],
      ['what is no GraphQL', () => watch({ query: 'subscription {' }), { code: 'GRAPHQL_PARSE_FAILED' }],
      [
        'an unknown field',
        () => watch({ query: 'subscription { notificationStatusChanged { nothing } }' }),
        { code: 'GRAPHQL_VALIDATION_FAILED' },
      ],
      [
        'a variable of the wrong kind',
        () =>
          watch({
            query: `subscription ($first: Int!) { notificationStatusChanged { notification { user { notifications(first: $first) { edges { node { id } } } } } } }`,
            variables: { first: 'many' },
          }),
        { code: 'BAD_USER_INPUT' },
      ],
      [
        'several operations without a name',
        () => watch({ query: `subscription A { notificationStatusChanged { at } } query B { __typename }` }),
        { code: 'BAD_USER_INPUT', field: 'operationName' },
      ],
      [
        'a root field that may be skipped',
        () => watch({ query: `subscription { notificationStatusChanged @skip(if: true) { at } }` }),
        { code: 'BAD_USER_INPUT' },
      ],
      [
        'what may cost too much',
        () => watch({ query: `subscription { notificationStatusChanged { notification { user { ${nested(4)} } } } }` }),
        { code: 'TOO_COMPLEX' },
      ],
    ];
    test.each(refusals)('%s', async (_, begin, extensions) => {
      const watched = begin();
      const ended = await watched.ended;
      const errors = ended === null ? watched.errors() : (ended as ReturnType<Watch['errors']>);
      expect(errors).toMatchObject([{ message: expect.any(String), extensions: { requestId: expect.any(String) } }]);
      expect(errors[0]?.extensions).toMatchObject(extensions);
      expect(watched.events).toEqual([]);
    });

    test('a key that may not read notifications', async () => {
      const watched = watch(`(userId: "${user}")`, { credential: await newKey(['notifications:send']) });
      await watched.ended;
      expect(watched.errors()).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
    });

    test('a cursor that is too old', async () => {
      const all = watch('');
      const { id: last } = await until(async () => {
        const sent = await send();
        return all.events.length > 1 && sent;
      });
      await until(() => all.events.at(-1)?.notification.id === last);
      await herald.sql('notification', 'UPDATE feed_state SET floor = (SELECT max(seq) FROM feed)');
      await herald.sql('notification', 'DELETE FROM feed');
      const expired = watch(`(after: "${all.events[0]?.cursor}")`);
      await expired.ended;
      expect(expired.errors()).toMatchObject([{ extensions: { code: 'CURSOR_EXPIRED' } }]);
    });
  });

  test('an event waits for a subgraph that is started anew', async () => {
    const { id } = await send();
    const watched = watch({
      query: `subscription { notificationStatusChanged(notificationId: "${id}") { status notification { user { name } } } }`,
    });
    await until(() => watched.results.length === 1);
    await herald.stopPart('user');
    await report(id);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(watched.results).toHaveLength(1);
    await herald.startPart('user');
    await until(() => watched.results.length === 2, { timeoutMs: 15_000 });
    const of = { notification: { user: { name: 'Ada Lovelace' } } };
    expect(watched.results).toMatchObject([
      { data: { notificationStatusChanged: { status: 'PENDING', ...of } } },
      { data: { notificationStatusChanged: { status: 'DELIVERED', ...of } } },
    ]);
  }, 30_000);

  test('of a long outage only the first events wait', async () => {
    const ids = await Promise.all(Array.from({ length: 60 }, async () => (await send()).id));
    const query = `subscription { notificationStatusChanged(userId: "${user}") { status notification { id user { name } } } }`;
    const watched = watch({ query });
    await until(async () => {
      ids.push((await send()).id);
      return watched.results.length > 0;
    });
    const delivered = () =>
      watched.results.filter(({ data }) => data?.notificationStatusChanged.status === 'DELIVERED').length;
    await herald.stopPart('user');
    try {
      for (const id of ids) await report(id);
      // One after another, 16 at a time, they would wait four times as long.
      await until(() => delivered() === ids.length, { timeoutMs: 20_000 });
      expect(watched.results.at(-1)).toMatchObject({
        data: { notificationStatusChanged: { notification: { user: null } } },
        errors: [{ extensions: { code: 'UNAVAILABLE' } }],
      });
    } finally {
      await herald.startPart('user');
    }
    await until(
      async () => {
        await send();
        return watched.results.at(-1)?.errors === undefined;
      },
      { timeoutMs: 15_000, everyMs: 200 },
    );
  }, 60_000);

  test('those who ask the same share one execution of each event', async () => {
    const [ada, bob] = [await newKey(), await newKey()];
    const { id } = await send({}, ada);
    const mine = Array.from({ length: 10 }, () => watch(`(requestId: "${randomUUID()}")`, { credential: ada }));
    const byUser = Array.from({ length: 10 }, () => watch(`(userId: "${user}")`, { credential: ada }));
    const others = watch(`(userId: "${user}")`, { credential: bob });
    await until(async () => {
      await Promise.all([send({}, ada), send({}, bob)]);
      return [...byUser, others].every(({ events }) => events.length > 0);
    });
    const last = [await send({}, ada), await send({}, bob)].map((sent) => sent.id);
    await until(() => [...byUser, others].every(({ events }) => last.includes(events.at(-1)?.notification.id ?? '')));
    const runs = async () => Number(/^herald_subscription_executions_total\S* (\d+)/m.exec(await metrics())?.[1]);
    const before = await runs();
    await report(id);
    await until(() => byUser.every(({ events }) => events.at(-1)?.status === 'DELIVERED'));
    expect((await runs()) - before).toBe(1);
    expect(mine.flatMap(({ results }) => results)).toEqual([]);
  });

  test('the feed goes on beyond the numbers of 32 bits', async () => {
    const last = 2 ** 31 - 1;
    const before = watch('');
    await until(async () => {
      await send();
      return before.events.length > 0;
    });
    await until(async () => (await herald.sql('notification', 'SELECT FROM feed_in')).length === 0);
    await herald.sql('notification', 'UPDATE feed_state SET floor = $1', [last]);
    await herald.sql('notification', 'DELETE FROM feed');
    // The gateway hears that what it was told of is no longer kept.
    await before.ended;
    expect(before.errors()).toMatchObject([{ extensions: { code: 'CURSOR_EXPIRED' } }]);
    const { id } = await send();
    await until(async () => (await herald.sql('notification', 'SELECT FROM feed_in')).length === 0);
    const watched = watch(`(notificationId: "${id}")`);
    await until(() => watched.events.length === 1);
    await report(id);
    await until(() => watched.events.length === 2);
    const resumed = watch(`(notificationId: "${id}", after: "${watched.events[0]?.cursor}")`);
    await until(() => resumed.events.length === 1);
    expect(resumed.events).toEqual([watched.events[1]]);
    const seqOf = ({ cursor }: { cursor: string }) => Number(Buffer.from(cursor, 'base64url').readBigUInt64BE(16));
    expect(watched.events.map(seqOf)).toEqual([last + 1, last + 2]);
  });

  const metrics = async () => (await fetch(`${herald.url}/metrics`)).text();
});

const nested = (levels: number): string =>
  levels === 0 ? 'id' : `notifications(first: 100) { edges { node { id user { ${nested(levels - 1)} } } } }`;
