import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FeedDocument, type FeedFilter, type FeedQuery } from '../client/generated/operations.ts';
import { feedMessageSchema, type FeedMessage } from '../contracts/events.ts';
import { ADMIN } from '../contracts/scopes.ts';
import { signRequest } from '../platform/trust.ts';
import { createCursors } from '../platform/feed-cursor.ts';
import { withChannel } from './amqp.ts';
import { begin, giveBack } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

describe('the feed', () => {
  let herald: Herald;
  let user: string;
  let template: string;
  beforeAll(async () => {
    herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
    user = await givenUser(herald);
    template = await givenTemplate(herald);
  });
  afterAll(() => herald?.stop());

  type Page = FeedQuery['feed'];
  const read = async (filter?: FeedFilter, after?: string, first = 100): Promise<Page> =>
    (await herald.graphql(FeedDocument, { filter, after, first })).feed;
  const report = (id: string, token: number, outcome: string, status: string) =>
    herald.rest('POST', '/api/v1/email/status/', { notification_id: id, status, attempt: { token, class: outcome } });
  const numbered = () =>
    until(async () => (await herald.sql('notification', 'SELECT count(*)::integer FROM feed_in'))[0]?.['count'] === 0);

  /** Sent, tried in vain, tried again, delivered. */
  async function givenStory(): Promise<string> {
    const id = await givenSent(herald, user, template);
    await report(id, await begin(herald, id), 'transient', 'pending');
    await giveBack(herald, id);
    await report(id, await begin(herald, id), 'accepted', 'delivered');
    await numbered();
    return id;
  }
  const STORY = [
    { version: 1, previousStatus: null, status: 'PENDING', attempt: 0 },
    { version: 2, previousStatus: 'PENDING', status: 'PENDING', attempt: 1 },
    { version: 3, previousStatus: 'PENDING', status: 'DELIVERED', attempt: 2 },
  ];

  test('tells of the creation, of each scheduled retry and of each change of status, in order', async () => {
    const { endCursor: start } = await read();
    const id = await givenStory();
    const { events, hasMore } = await read({}, start);
    expect(events).toMatchObject(STORY.map((event) => ({ ...event, notificationId: id, reason: null })));
    expect(hasMore).toBe(false);
    const failed = await givenSent(herald, user, template);
    await report(failed, await begin(herald, failed), 'permanent', 'failed');
    await numbered();
    expect((await read({ notificationId: failed }, start)).events.at(-1)).toMatchObject({
      previousStatus: 'PENDING',
      status: 'FAILED',
      reason: 'REJECTED',
    });
  });

  test('without a cursor begins now: an empty page whose end is the place to go on from', async () => {
    await givenStory();
    const now = await read();
    expect(now).toMatchObject({ events: [], hasMore: false });
    const id = await givenSent(herald, user, template);
    await numbered();
    expect((await read({}, now.endCursor)).events).toMatchObject([{ notificationId: id, version: 1 }]);
  });

  test('goes on from any cursor, page by page, without a gap or a repeat', async () => {
    const { endCursor: start } = await read();
    const ids = [await givenStory(), await givenStory(), await givenStory()];
    const whole = (await read({}, start)).events;
    expect(whole.map(({ notificationId }) => notificationId)).toEqual(ids.flatMap((id) => [id, id, id]));
    const paged: Page['events'] = [];
    for (let page: Page | undefined; page === undefined || page.hasMore;) {
      page = await read({}, page?.endCursor ?? start, 2);
      paged.push(...page.events);
    }
    expect(paged).toEqual(whole);
    for (const [place, { cursor }] of whole.entries())
      expect((await read({}, cursor)).events).toEqual(whole.slice(place + 1));
  });

  test('is narrowed to a notification, a user or a request; its end passes over the others', async () => {
    const { endCursor: start } = await read();
    const [somebody, requestId] = [await givenUser(herald), randomUUID()];
    const theirs = await givenSent(herald, somebody, template);
    const named = await givenSent(herald, user, template, { request_id: requestId });
    await numbered();
    const end = (await read({}, start)).endCursor;
    for (const [filter, id] of [
      [{ notificationId: theirs }, theirs],
      [{ userId: somebody }, theirs],
      [{ requestId }, named],
      [{ requestId, userId: user, notificationId: named }, named],
    ] as const) {
      const page = await read(filter, start);
      expect(page.events).toMatchObject([{ notificationId: id, version: 1 }]);
      expect(page.endCursor).toBe(end);
    }
    expect((await read({ requestId, userId: somebody }, start)).events).toEqual([]);
  });

  test('refuses what is no cursor of its own, and what it no longer holds', async () => {
    const { endCursor } = await read();
    const forged = `${endCursor.startsWith('A') ? 'B' : 'A'}${endCursor.slice(1)}`;
    const other = createCursors('another secret').toCursor({ epoch: randomUUID(), seq: 1 });
    for (const after of ['', 'ada', forged, other, `${endCursor}AAAA`])
      await expect(read({}, after), after).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field: 'after' });
    for (const [filter, field] of [
      [{ notificationId: 'ada' }, 'filter.notificationId'],
      [{ userId: 'ada' }, 'filter.userId'],
    ] as const)
      await expect(read(filter)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field });
    for (const first of [0, 1_001])
      await expect(read({}, endCursor, first)).rejects.toMatchObject({ code: 'BAD_USER_INPUT', field: 'first' });

    const { toCursor } = createCursors(herald.secrets.notification);
    const [state] = await herald.sql(
      'notification',
      'SELECT epoch, max(seq)::integer AS head FROM feed, feed_state GROUP BY epoch',
    );
    const { epoch, head } = { epoch: state?.['epoch'], head: state?.['head'] };
    await herald.sql('notification', 'DELETE FROM feed WHERE seq <= 3');
    for (const place of [
      { epoch: randomUUID(), seq: head },
      { epoch, seq: 2 },
      { epoch, seq: head + 1 },
    ])
      await expect(read({}, toCursor(place))).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
    expect((await read({}, toCursor({ epoch, seq: 3 }))).events).toHaveLength(Math.min(100, head - 3));
  });

  test("does not show another client's events", async () => {
    const { endCursor: after } = await read();
    const id = await givenSent(herald, user, template);
    await numbered();
    const seenBy = async (kind: 'client' | 'admin', filter: FeedFilter) => {
      const body = JSON.stringify({ query: FeedDocument.toString(), variables: { after, filter } });
      const context = { viewer: { ...ADMIN, kind, id: 'somebody-else' }, requestId: 'story' } as const;
      const request = { method: 'POST', path: '/graphql', body };
      const headers = signRequest(
        request,
        context,
        { caller: 'gateway', callee: 'notification' },
        herald.secrets.notification,
      );
      return (await herald.rest('POST', `${herald.urlOf('notification')}/graphql`, body, headers)).body.data.feed;
    };
    expect((await seenBy('admin', {})).events).toMatchObject([{ notificationId: id }]);
    for (const filter of [{}, { notificationId: id }, { userId: user }])
      expect((await seenBy('client', filter)).events).toEqual([]);
  });

  test.skipIf(!hasServices)('is published as it is numbered, and its head is told every second', async () => {
    const messages: FeedMessage[] = [];
    await withChannel(herald.amqpUrl, async (channel) => {
      const { queue } = await channel.assertQueue('', { exclusive: true });
      await channel.bindQueue(queue, herald.names.events, '#');
      await channel.consume(queue, (message) => {
        messages.push(feedMessageSchema.parse(JSON.parse(message?.content.toString() ?? '')));
      });
      const { endCursor: start } = await read();
      const id = await givenStory();
      const published = await until(() => {
        const events = messages.flatMap((message) => message.events).filter((event) => event.notificationId === id);
        return events.length === STORY.length && events;
      });
      const { events } = await read({ notificationId: id }, start);
      const { toCursor } = createCursors(herald.secrets.notification);
      const epoch = messages[0]?.epoch ?? '';
      expect(published.map(({ seq }) => toCursor({ epoch, seq }))).toEqual(events.map(({ cursor }) => cursor));
      expect(published.map(({ version, at }) => ({ version, at }))).toEqual(
        events.map(({ version, at }) => ({ version, at })),
      );
      const head = published.at(-1)?.seq;
      await until(() => messages.some((message) => message.events.length === 0 && message.head === head));
      for (const message of messages.filter((one) => one.events.length > 0))
        expect(message.head).toBe(message.events.at(-1)?.seq);
    });
  });
});
