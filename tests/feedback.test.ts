import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import {
  FeedDocument,
  ReplayNotificationDocument,
  SuppressionsDocument,
  UnsuppressDocument,
  type SuppressionsQueryVariables,
} from '../client/generated/operations.ts';
import { GATEWAY_SERVICE, WORKER } from '../contracts/scopes.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createCounters } from '../subgraphs/notification/counters.ts';
import { purge } from '../subgraphs/notification/retention.ts';
import { connectAsGateway } from './as-gateway.ts';
import { takeAll } from './amqp.ts';
import { begin, expireLease } from './as-worker.ts';
import { postfixDsn } from './dsn-samples.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification } from './given.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { createTestLogger } from './test-log.ts';
import { until } from './until.ts';
import {
  mailgunEvent,
  postBounce,
  postMailgun,
  postSendgrid,
  sendgridBounce,
  sendgridEvent,
  webhookKeys,
} from './webhook-senders.ts';

let herald: Herald;
/** One that may be unsubscribed from, and one that may not. */
let news: string;
let password: string;
beforeAll(async () => {
  herald = await startHerald({ webhookKeys, leaseSeconds: 60 });
  [news, password] = await Promise.all([
    givenTemplate(herald, { unsubscribable: true }),
    givenTemplate(herald, { sensitive: true }),
  ]);
});
afterAll(() => herald?.stop());

async function givenPerson() {
  const email = `Ada.${randomUUID()}@Example.com`;
  return { email, user: await givenUser(herald, { email }) };
}
async function givenDelivered(code = news) {
  const person = await givenPerson();
  const id = await givenSent(herald, person.user, code);
  await until(async () => (await read(id)).status === 'delivered');
  return { ...person, id };
}
/** Mails that nobody takes while the work goes on. */
async function withoutWorker<T>(work: () => Promise<T>): Promise<T> {
  await herald.stopPart('email');
  try {
    return await work();
  } finally {
    await herald.startPart('email');
  }
}
const read = (id: string) => readNotification(herald, id);
const sql = (text: string, id: string) => herald.sql('notification', text, [id]);
const versionOf = async (id: string) =>
  (await sql('SELECT version FROM notification WHERE id = $1', id))[0]?.['version'];
const bounce = (fields: object) => postSendgrid(herald, [sendgridBounce(fields)]);
const suppressions = async (filter: SuppressionsQueryVariables) =>
  (await herald.graphql(SuppressionsDocument, filter)).suppressions.edges.map(({ node }) => node);
/** The feed of one notification once all of it has its number. */
const feedOf = async (id: string, after?: string) => {
  await until(async () => (await sql('SELECT FROM feed_in WHERE notification_id = $1', id)).length === 0);
  return (await herald.graphql(FeedDocument, { filter: { notificationId: id }, after })).feed;
};

describe('a bounce for good', () => {
  test('turns delivered into failed: timeline, feed, suppression', async () => {
    const { id, email } = await givenDelivered();
    const [{ endCursor }, version] = [await feedOf(id), await versionOf(id)];
    await bounce({ email, notification_id: id });
    const { status, reason, attempts, timeline } = await read(id);
    expect({ status, reason, attempts }).toEqual({ status: 'failed', reason: 'BOUNCED', attempts: 1 });
    expect(timeline.slice(-3)).toEqual(['DELIVERED', 'BOUNCED', 'FAILED']);
    const details = await sql('SELECT event, detail FROM timeline WHERE notification_id = $1 ORDER BY id', id);
    const said = '550 5.1.1 The email account that you tried to reach does not exist.';
    expect(details.slice(-2)).toEqual([
      {
        event: 'BOUNCED',
        detail: { provider: 'sendgrid', permanent: true, reason: said, at: expect.stringMatching(/Z$/) },
      },
      { event: 'FAILED', detail: { reason: 'BOUNCED', error: said, by: 'sendgrid' } },
    ]);
    expect((await feedOf(id, endCursor)).events).toMatchObject([
      { previousStatus: 'DELIVERED', status: 'FAILED', reason: 'BOUNCED', version: version + 1 },
    ]);
    expect(await suppressions({ address: email })).toMatchObject([
      {
        notificationType: 'EMAIL',
        address: email.toLowerCase(),
        reason: `hard bounce: ${said}`,
        createdBy: 'sendgrid',
      },
    ]);
  });

  test.skipIf(!hasServices)('that many say at once, in other orders, counts once; one dead letter each', async () => {
    const mails = await Promise.all(Array.from({ length: 12 }, () => givenDelivered()));
    const versions = await Promise.all(mails.map(({ id }) => versionOf(id)));
    const eventsOf = (attempt: number) =>
      mails.map(({ id, email }) => sendgridBounce({ email, notification_id: id, attempt }));
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, place) => {
        const events = eventsOf(place);
        return postSendgrid(herald, place % 2 === 0 ? events : events.toReversed());
      }),
    );
    expect(answers.map(({ status, body }) => [status, body.recorded])).toEqual(answers.map(() => [200, mails.length]));
    await herald.drained();
    const letters = (await takeAll(herald.amqpUrl, herald.names.queues.failed)) as Record<string, unknown>[];
    for (const [place, { id }] of mails.entries()) {
      const { status, reason, timeline } = await read(id);
      expect({ status, reason }).toEqual({ status: 'failed', reason: 'BOUNCED' });
      expect(timeline.filter((event: string) => event === 'FAILED')).toHaveLength(1);
      expect(timeline.filter((event: string) => event === 'BOUNCED')).toHaveLength(answers.length);
      expect(await versionOf(id)).toBe(versions[place] + 1);
      expect(letters.filter(({ notificationId }) => notificationId === id)).toMatchObject([
        { reason: 'BOUNCED', lastError: expect.stringContaining('does not exist') },
      ]);
    }
  });

  test('of one that waits ends it before it is sent', async () => {
    const { email, user } = await givenPerson();
    const id = await givenSent(herald, user, news, { send_at: new Date(Date.now() + 3_600_000).toISOString() });
    await bounce({ email, notification_id: id });
    expect(await read(id)).toMatchObject({ status: 'failed', reason: 'BOUNCED', attempts: 0 });
    expect(await mailsOf(herald, id)).toEqual([]);
  });

  test.each(['holds', 'held'])(
    'of one that a worker %s is left to the repeat, others beside it are not',
    async (when) => {
      await withoutWorker(async () => {
        const { email, user } = await givenPerson();
        const [id, other] = [await givenSent(herald, user, news), await givenSent(herald, user, news)];
        const attempt = { token: await begin(herald, id), class: 'accepted' };
        if (when === 'held') await expireLease(herald, id);
        const events = [id, other].map((notification) => sendgridBounce({ email, notification_id: notification }));
        const early = await postSendgrid(herald, events);
        expect(early).toMatchObject({ status: 503, headers: { 'retry-after': expect.any(String) } });
        expect(await read(id)).toMatchObject({ status: 'pending' });
        expect((await read(id)).timeline).not.toContain('BOUNCED');
        expect(await read(other)).toMatchObject({ status: 'failed', reason: 'BOUNCED' });
        await herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status: 'delivered', attempt });
        expect(await read(id)).toMatchObject({ status: 'delivered' });
        expect(await postSendgrid(herald, events)).toMatchObject({ status: 200, body: { recorded: 1 } });
        expect(await read(id)).toMatchObject({ status: 'failed', reason: 'BOUNCED' });
        expect(await suppressions({ address: email })).toHaveLength(1);
      });
    },
  );

  test('of an address with an internationalised domain is suppressed however it is written', async () => {
    const name = `ada.${randomUUID()}`;
    const user = await givenUser(herald, { email: `${name}@bücher.example` });
    const id = await givenSent(herald, user, news);
    await until(async () => (await read(id)).status === 'delivered');
    await bounce({ email: `${name}@xn--bcher-kva.example`, notification_id: id });
    expect(await suppressions({ address: `${name.toUpperCase()}@BÜCHER.example` })).toHaveLength(1);
    const next = await givenSent(herald, user, news);
    await herald.drained();
    expect(await read(next)).toMatchObject({ status: 'failed', reason: 'SUPPRESSED' });
  });

  test('of one that failed already is only noted', async () => {
    const { id, email } = await givenDelivered();
    await bounce({ email, notification_id: id });
    const [first, version] = [await read(id), await versionOf(id)];
    await bounce({ email, notification_id: id, attempt: 2 });
    expect(await read(id)).toEqual({ ...first, timeline: [...first.timeline, 'BOUNCED'] });
    expect(await versionOf(id)).toBe(version);
  });

  test('can be sent again, and is checked like a first send', async () => {
    const { id, email } = await givenDelivered();
    await bounce({ email, notification_id: id });
    const replay = async () => {
      await herald.graphql(ReplayNotificationDocument, { id });
      return until(async () => {
        const { status, reason } = await read(id);
        return status !== 'pending' && (reason ?? status);
      });
    };
    expect(await replay()).toBe('SUPPRESSED');
    const [entry] = await suppressions({ address: email });
    await herald.graphql(UnsuppressDocument, { id: entry?.id ?? '' });
    expect(await replay()).toBe('delivered');
    await bounce({ email, notification_id: id, attempt: 2 });
    expect(await read(id)).toMatchObject({ status: 'failed', reason: 'BOUNCED' });
  });
});

describe('suppressed is', () => {
  const sendAgain = async (user: string, code: string) => {
    const id = await givenSent(herald, user, code);
    return until(async () => {
      const { status, reason } = await read(id);
      return status !== 'pending' && (reason ?? status);
    });
  };

  test('who complained: the mail stays delivered, and no other follows', async () => {
    const { id, email, user } = await givenDelivered();
    await postMailgun(herald, mailgunEvent('complained', email, id));
    const { status, timeline } = await read(id);
    expect({ status, last: timeline.at(-1) }).toEqual({ status: 'delivered', last: 'COMPLAINED' });
    expect(await suppressions({ address: email })).toMatchObject([{ reason: 'spam complaint', createdBy: 'mailgun' }]);
    expect(await sendAgain(user, password)).toBe('SUPPRESSED');
  });

  test('who unsubscribed, from that template only', async () => {
    const { id, email, user } = await givenDelivered();
    for (let twice = 0; twice < 2; twice += 1) {
      await postSendgrid(herald, [sendgridEvent('unsubscribe', { email, notification_id: id, timestamp: twice })]);
    }
    expect(await suppressions({ userId: user })).toMatchObject([
      { address: null, userId: user, templateCode: news, reason: 'unsubscribed', createdBy: 'sendgrid' },
    ]);
    expect(await suppressions({ address: email })).toEqual([]);
    expect(await sendAgain(user, news)).toBe('SUPPRESSED');
    expect(await sendAgain(user, password)).toBe('delivered');
  });

  test('nobody who unsubscribed from what they must get', async () => {
    const { id, email, user } = await givenDelivered(password);
    const event = sendgridEvent('group_unsubscribe', { email, notification_id: id, asm_group_id: 10 });
    expect(await postSendgrid(herald, [event])).toMatchObject({ status: 200, body: { recorded: 1 } });
    expect((await read(id)).timeline.at(-1)).toBe('UNSUBSCRIBED');
    expect(await suppressions({ userId: user })).toEqual([]);
    expect(await sendAgain(user, password)).toBe('delivered');
  });

  test('an address that a provider says is dead, whatever was sent there', async () => {
    const address = `${randomUUID()}@example.com`;
    for (const fields of [{}, { notification_id: 'none of ours' }, { notification_id: randomUUID() }]) {
      expect(await bounce({ email: address, ...fields, attempt: randomUUID() })).toMatchObject({
        status: 200,
        body: { recorded: 1 },
      });
    }
    expect(await suppressions({ address })).toHaveLength(1);
  });

  test('nobody by a returned mail that was not sent to them, for anybody can mail one', async () => {
    const { id, email } = await givenDelivered();
    const victim = `${randomUUID()}@example.com`;
    for (const messageId of [`${id}@herald.example`, `${randomUUID()}@herald.example`, 'somebody@else.example']) {
      expect((await postBounce(herald, postfixDsn({ to: victim, messageId }))).body).toMatchObject({ recorded: 1 });
    }
    expect(await suppressions({ address: victim })).toEqual([]);
    expect(await suppressions({ address: email })).toEqual([]);
  });
});

test('feedback on a notification of another channel is not taken for it', async () => {
  const { email, user } = await givenPerson();
  const id = await givenSent(herald, user, news, { notification_type: 'push' });
  await until(async () => (await read(id)).status === 'delivered');
  const before = await read(id);
  await bounce({ email, notification_id: id });
  expect(await read(id)).toEqual(before);
});

test('what a provider said goes with a deleted user', async () => {
  const { id, email, user } = await givenDelivered();
  await bounce({ email, notification_id: id, reason: `550 <${email}> unknown` });
  await herald.rest('DELETE', `/api/v1/users/${user}`);
  const isErased = `SELECT FROM timeline WHERE notification_id = $1 AND event = 'ERASED'`;
  await until(async () => (await sql(isErased, id)).length === 1);
  const details = await sql('SELECT detail::text FROM timeline WHERE notification_id = $1', id);
  expect(JSON.stringify(details).toLowerCase()).not.toContain(email.toLowerCase());
});

test('every kind is counted, once', async () => {
  const metric = async () => {
    const text = await (await fetch(`${herald.urlOf('notification')}/metrics`)).text();
    return Number(/herald_feedback_total\{provider="mailgun",kind="deferred".*\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  const before = await metric();
  const how = { token: randomUUID() };
  const event = mailgunEvent('failed', 'ada@example.com', null, { severity: 'temporary', reason: 'generic' });
  for (let twice = 0; twice < 2; twice += 1) await postMailgun(herald, event, how);
  expect(await metric()).toBe(before + 1);
});

describe('the way in', () => {
  const EVENT = {
    provider: 'sendgrid',
    eventId: 'a',
    kind: 'BOUNCED',
    isPermanent: true,
    isAddressDead: true,
    at: new Date().toISOString(),
  };
  const query = 'mutation ($events: [FeedbackEventInput!]!) { recordFeedback(events: $events) }';

  test('is not part of the public graph', async () => {
    for (const text of [query, 'mutation { unsubscribe(token: "a") }', '{ isUnsubscribeToken(token: "a") }']) {
      const { body } = await herald.rest('POST', '/graphql', { query: text, variables: { events: [EVENT] } });
      expect(body.errors[0].message).toMatch(/Cannot query field|Unknown type/);
    }
  });

  test('takes only whole feedback, from whom it is meant for', async () => {
    const client = connectAsGateway(herald);
    try {
      const ask = async (
        events: object[],
        viewer: Parameters<typeof client.graphql>[1]['viewer'] = GATEWAY_SERVICE,
      ) => {
        const { errors } = await client.graphql({ query, variables: { events } }, { viewer, requestId: 'r' });
        return errors?.[0]?.extensions?.['code'];
      };
      expect(await ask([EVENT], WORKER)).toBe('FORBIDDEN');
      expect(await ask([])).toBe('BAD_USER_INPUT');
      expect(await ask(Array.from({ length: 101 }, () => EVENT))).toBe('BAD_USER_INPUT');
      expect(await ask([{ ...EVENT, provider: 'nobody' }])).toBe('BAD_USER_INPUT');
      expect(await ask([{ ...EVENT, notificationId: 'none' }])).toBe('BAD_USER_INPUT');
    } finally {
      await client.stop();
    }
  });
});

test('a repeat is known for 30 days, then forgotten', async () => {
  const add = `INSERT INTO feedback_seen (provider, event_id, seen_at) VALUES ('sendgrid', $1, now() - $2 * interval '1 day')`;
  await herald.sql('notification', add, ['young', 29.9]);
  await herald.sql('notification', add, ['old', 30.1]);
  const [{ name }] = (await herald.sql('notification', 'SELECT current_database() AS name')) as [{ name: string }];
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${name}`;
  const pool = new pg.Pool({ connectionString: url.href });
  try {
    await purge({
      pool,
      retention: { contentDays: 30, requestIdDays: 365, feedHours: 72, months: 24 },
      counters: createCounters(createMetrics('test')),
      log: createTestLogger('test'),
    });
  } finally {
    await pool.end();
  }
  const left = `SELECT event_id FROM feedback_seen WHERE event_id IN ('young', 'old')`;
  expect(await herald.sql('notification', left)).toEqual([{ event_id: 'young' }]);
});
