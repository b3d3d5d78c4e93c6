import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NotificationDocument, SendNotificationDocument } from '../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification, sendBody } from './given.ts';
import { brokerKinds, startHerald, type Herald } from './start.ts';

const SEND = '/api/v1/notifications/';

describe.each(brokerKinds)('sending over %s', (broker) => {
  let herald: Herald;
  beforeAll(async () => {
    // One at a time, so that the order of the mails tells of priorities.
    herald = await startHerald({ broker, concurrency: 1 });
  });
  afterAll(() => herald?.stop());

  test('a send over REST is accepted, arrives as a mail, and is told of step by step', async () => {
    const email = `${randomUUID()}@example.com`;
    const user = await givenUser(herald, { name: 'José Ñandú 注文', email });
    const template = await givenTemplate(herald);
    const body = sendBody(user, template, {
      variables: { name: '<b>Ada & Zoë</b>' },
      metadata: { order: { number: 7, lineItems: ['ä'] } },
    });
    const accepted = await herald.rest('POST', SEND, body);
    expect(accepted.status).toBe(202);
    const id = accepted.body.notification_id;
    expect(accepted.body).toEqual({
      notification_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      status: 'pending',
      request_id: body.request_id,
      duplicate: false,
    });

    await herald.drained();
    expect(await mailsOf(herald, id)).toMatchObject([
      {
        MessageID: `${id}@herald.example`,
        From: { Name: 'Herald', Address: 'no-reply@herald.example' },
        To: [{ Name: 'José Ñandú 注文', Address: email }],
        Subject: 'Hello <b>Ada & Zoë</b>',
        HTML: expect.stringContaining('<p>Hello &lt;b&gt;Ada &amp; Zoë&lt;/b&gt;</p>'),
        Text: expect.stringContaining('Hello <b>Ada & Zoë</b>'),
      },
    ]);
    expect(await readNotification(herald, id)).toEqual({
      notification_id: id,
      notification_type: 'email',
      user_id: user,
      template_code: template,
      request_id: body.request_id,
      status: 'delivered',
      reason: null,
      priority: 5,
      metadata: { order: { number: 7, lineItems: ['ä'] } },
      attempts: 1,
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      updated_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      timeline: ['ACCEPTED', 'QUEUED', 'ATTEMPT_STARTED', 'ATTEMPT_ENDED', 'DELIVERED'],
    });
  });

  test('a send over GraphQL does the same, and one query shows it with its user and template', async () => {
    const email = `${randomUUID()}@example.com`;
    const userId = await givenUser(herald, { email });
    const templateCode = await givenTemplate(herald);
    const input = {
      notificationType: 'EMAIL' as const,
      userId,
      templateCode,
      requestId: randomUUID(),
      variables: { name: 'Ada' },
    };
    const { sendNotification } = await herald.graphql(SendNotificationDocument, { input });
    expect(sendNotification).toMatchObject({
      duplicate: false,
      notification: { status: 'PENDING', requestId: input.requestId },
    });

    await herald.drained();
    const { id } = sendNotification.notification;
    expect(await mailsOf(herald, id)).toMatchObject([{ Subject: 'Hello Ada', To: [{ Address: email }] }]);
    const { notification } = await herald.graphql(NotificationDocument, { id });
    expect(notification).toMatchObject({
      id,
      status: 'DELIVERED',
      reason: null,
      attempts: 1,
      dueAt: null,
      templateVersion: 1,
      user: { id: userId, name: 'Ada Lovelace', email },
      template: { code: templateCode, defaultLocale: 'en' },
    });
    expect(notification?.timeline.map(({ event, detail }) => [event, detail])).toMatchObject([
      ['ACCEPTED', { templateVersion: 1, locale: 'en' }],
      ['QUEUED', null],
      ['ATTEMPT_STARTED', { attempt: 1, provider: 'smtp' }],
      ['ATTEMPT_ENDED', { class: 'accepted', providerMessageId: `<${id}@herald.example>` }],
      ['DELIVERED', null],
    ]);
  });

  test('a push message reaches the sandbox', async () => {
    const user = await givenUser(herald, { push_token: 'device-7' });
    const template = await givenTemplate(herald, {
      push: {
        title: 'Order {{ name }}',
        body: 'is <here> & ready',
        link: 'https://x.example/{{ name }}',
        data: { k: [1] },
      },
    });
    const id = await givenSent(herald, user, template, { notification_type: 'push' });
    await herald.drained();
    expect((await herald.pushes()).filter(({ NotificationID }) => NotificationID === id)).toMatchObject([
      {
        Tokens: ['device-7'],
        Title: 'Order Ada',
        Body: 'is <here> & ready',
        Link: 'https://x.example/Ada',
        Data: { k: [1] },
      },
    ]);
    expect(await readNotification(herald, id)).toMatchObject({
      status: 'delivered',
      notification_type: 'push',
      attempts: 1,
    });
    expect(await mailsOf(herald, id)).toEqual([]);
  });

  test('a send for later goes out at its time, not before', async () => {
    const user = await givenUser(herald);
    const sendAt = new Date(Date.now() + 1_200).toISOString();
    const id = await givenSent(herald, user, await givenTemplate(herald), { send_at: sendAt });
    const { notification } = await herald.graphql(NotificationDocument, { id });
    expect(notification).toMatchObject({ status: 'PENDING', dueAt: sendAt });
    await herald.drained();
    expect(await mailsOf(herald, id)).toHaveLength(1);
    expect((await readNotification(herald, id)).timeline).toEqual([
      'ACCEPTED',
      'SCHEDULED',
      'QUEUED',
      'ATTEMPT_STARTED',
      'ATTEMPT_ENDED',
      'DELIVERED',
    ]);
    const early = `SELECT at FROM timeline WHERE notification_id = $1 AND event IN ('QUEUED', 'ATTEMPT_STARTED') AND at < $2`;
    expect(await herald.sql('notification', early, [id, sendAt])).toEqual([]);
  });

  test('a switched-off channel is accepted and ends as PREFERENCE_DISABLED, without a mail', async () => {
    const user = await givenUser(herald, { preferences: { email: false, push: true } });
    const template = await givenTemplate(herald);
    const id = await givenSent(herald, user, template);
    const pushed = await givenSent(herald, user, template, { notification_type: 'push' });
    await herald.drained();
    expect(await readNotification(herald, id)).toMatchObject({
      status: 'failed',
      reason: 'PREFERENCE_DISABLED',
      attempts: 0,
    });
    expect(await mailsOf(herald, id)).toEqual([]);
    expect(await readNotification(herald, pushed)).toMatchObject({ status: 'delivered' });
  });

  test('a channel switched off between accept and send holds, though the worker knew better', async () => {
    const user = await givenUser(herald);
    const template = await givenTemplate(herald);
    const before = await givenSent(herald, user, template);
    await herald.drained();
    expect(await readNotification(herald, before)).toMatchObject({ status: 'delivered' });

    await herald.stopPart('email');
    const id = await givenSent(herald, user, template);
    const off = { email: false, push: true };
    expect(await herald.rest('PUT', `/api/v1/users/${user}/preferences`, off)).toMatchObject({
      status: 200,
      body: off,
    });
    await herald.startPart('email');
    await herald.drained();
    expect(await readNotification(herald, id)).toMatchObject({ status: 'failed', reason: 'PREFERENCE_DISABLED' });
    expect(await mailsOf(herald, id)).toEqual([]);
  });

  test("the send's language is preferred over the user's, and the template's own is the last resort", async () => {
    const code = await givenTemplate(herald, {
      locale: 'fr',
      email: { subject: 'Bonjour', html: 'x' },
      contents: [
        { locale: 'de', email: { subject: 'Hallo', html: 'x' } },
        { locale: 'en', email: { subject: 'Hello', html: 'x' } },
      ],
    });
    const subjectFor = async (user: string, fields: object) => {
      const id = await givenSent(herald, user, code, fields);
      await herald.drained();
      return (await mailsOf(herald, id))[0]?.Subject;
    };
    const austrian = await givenUser(herald, { locale: 'de-AT' });
    const italian = await givenUser(herald, { locale: 'it' });
    expect(await subjectFor(austrian, {})).toBe('Hallo');
    expect(await subjectFor(austrian, { locale: 'en-GB' })).toBe('Hello');
    expect(await subjectFor(austrian, { locale: 'pt' })).toBe('Hallo');
    expect(await subjectFor(italian, {})).toBe('Bonjour');
  });

  test('what waits goes out by priority: 8 to 10, then 4 to 7, then 1 to 3', async () => {
    const user = await givenUser(herald);
    const template = await givenTemplate(herald, { email: { subject: '{{ name }}', html: 'x' } });
    await herald.stopPart('email');
    for (const priority of [1, 5, 10]) {
      await givenSent(herald, user, template, { priority, variables: { name: `priority ${priority}` } });
    }
    const waiting = 'SELECT count(*)::integer AS waiting FROM outbox';
    await expect.poll(() => herald.sql('notification', waiting)).toEqual([{ waiting: 0 }]);
    await herald.startPart('email');
    await herald.drained();
    const subjects = (await herald.mails()).slice(0, 3).map(({ Subject }) => Subject);
    expect(subjects.reverse()).toEqual(['priority 10', 'priority 5', 'priority 1']);
  });
});
