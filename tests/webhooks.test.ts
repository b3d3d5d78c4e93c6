import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SuppressionsDocument } from '../client/generated/operations.ts';
import { WEBHOOK_VARIABLES } from '../contracts/webhook-keys.ts';
import { begin } from './as-worker.ts';
import { eximDsn, gmailDsn, postfixDsn } from './dsn-samples.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';
import {
  mailgunEvent,
  newSendgridPair,
  postBounce,
  postMailgun,
  postOnesignal,
  postSendgrid,
  secondsAgo,
  sendgridBounce,
  sendgridEvent,
  webhookKeys,
} from './webhook-senders.ts';

const PARTS = ['user', 'template', 'notification', 'gateway'] as const;
const HOUR = 3_600;

let herald: Herald;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ parts: PARTS, webhookKeys });
  template = await givenTemplate(herald, { unsubscribable: true });
});
afterAll(() => herald?.stop());

/** A mail that its provider took. */
async function givenDelivered(type = 'email') {
  const email = `${randomUUID()}@example.com`;
  const user = await givenUser(herald, { email });
  const id = await givenSent(herald, user, template, { notification_type: type });
  const attempt = { token: await begin(herald, id), class: 'accepted', provider_message_id: randomUUID() };
  await herald.rest('POST', `/api/v1/${type}/status/`, { notification_id: id, status: 'delivered', attempt });
  return { id, email, user, messageId: `${id}@herald.example`, providerId: attempt.provider_message_id };
}

/** Status and reason, and the entries of the timeline that came by feedback. */
async function read(id: string) {
  const [row] = await herald.sql('notification', 'SELECT status, reason FROM notification WHERE id = $1', [id]);
  const feedback = await herald.sql(
    'notification',
    `SELECT event, detail FROM timeline WHERE notification_id = $1
       AND event IN ('CONFIRMED', 'BOUNCED', 'COMPLAINED', 'UNSUBSCRIBED', 'DEFERRED') ORDER BY id`,
    [id],
  );
  return { status: row?.['status'], reason: row?.['reason'], feedback };
}
const suppressed = async (address: string) =>
  (await herald.graphql(SuppressionsDocument, { address })).suppressions.edges.map(({ node }) => node);
/** Nothing at all came of it. */
async function expectUntouched({ id, email }: { id: string; email: string }) {
  expect(await read(id)).toEqual({ status: 'delivered', reason: null, feedback: [] });
  expect(await suppressed(email)).toEqual([]);
}

describe('a request that is not the provider’s', () => {
  test.each<[string, Parameters<typeof postSendgrid>[2]]>([
    ['unsigned', { headers: { 'x-twilio-email-event-webhook-signature': undefined } }],
    ['without its time', { headers: { 'x-twilio-email-event-webhook-timestamp': undefined } }],
    ['signed with another key', { privateKey: newSendgridPair().privateKey }],
    ['older than SendGrid repeats', { timestamp: secondsAgo(25 * HOUR + 60) }],
    ['from the future', { timestamp: secondsAgo(-HOUR) }],
    ['with a time that is none', { timestamp: 'now' }],
  ])('to SendGrid’s webhook, %s, is refused', async (_, how) => {
    const mail = await givenDelivered();
    expectProblem(
      await postSendgrid(herald, [sendgridBounce({ email: mail.email, notification_id: mail.id })], how),
      401,
    );
    await expectUntouched(mail);
  });

  test('to SendGrid’s webhook, altered by one character, is refused', async () => {
    const mail = await givenDelivered();
    const body = JSON.stringify([sendgridEvent('delivered', { email: mail.email, notification_id: mail.id })]);
    expectProblem(await postSendgrid(herald, body, { alteredBody: body.replace('delivered', 'delivereD') }), 401);
    await expectUntouched(mail);
  });

  test.each<[string, Parameters<typeof postMailgun>[2]]>([
    ['unsigned', { signature: {} }],
    ['signed with another key', { key: 'key-of-somebody-else' }],
    ['older than Mailgun repeats', { timestamp: secondsAgo(9 * HOUR + 60) }],
    ['from the future', { timestamp: secondsAgo(-HOUR) }],
    ['with a signature that is no hex', { signature: { timestamp: secondsAgo(0), token: 'a', signature: 'ä' } }],
  ])('to Mailgun’s webhook, %s, is refused', async (_, how) => {
    const mail = await givenDelivered();
    const event = mailgunEvent('failed', mail.email, mail.id, { severity: 'permanent', reason: 'bounce' });
    expectProblem(await postMailgun(herald, event, how), 401);
    await expectUntouched(mail);
  });

  test('to Mailgun’s webhook, with the signature of another event, changes nothing', async () => {
    const [mail, other] = [await givenDelivered(), await givenDelivered()];
    const how = { token: randomUUID(), timestamp: secondsAgo(5) };
    expect((await postMailgun(herald, mailgunEvent('delivered', other.email, other.id), how)).status).toBe(200);
    const forged = mailgunEvent('failed', mail.email, mail.id, { severity: 'permanent', reason: 'bounce' });
    expect(await postMailgun(herald, forged, how)).toMatchObject({ status: 200, body: { recorded: 0 } });
    await expectUntouched(mail);
  });

  test.each([
    ['without a secret', ''],
    ['with another secret', 'x'.repeat(32)],
  ])('to the other two, %s, is refused', async (_, secret) => {
    const mail = await givenDelivered();
    const fields = { 'event.kind': 'message.push.received', 'message.name': mail.id };
    expectProblem(await postOnesignal(herald, fields, secret), 401);
    const dsn = postfixDsn({ to: mail.email, messageId: mail.messageId });
    expectProblem(await postBounce(herald, dsn, { authorization: `Bearer ${secret}` }), 401);
    expectProblem(await postBounce(herald, dsn, { authorization: undefined }), 401);
    await expectUntouched(mail);
  });
});

describe('a request that says nothing', () => {
  test.each([
    ['no JSON', 'event=bounce'],
    ['no array', '{"event":"bounce"}'],
    ['nothing', ''],
  ])('SendGrid: %s is refused', async (_, body) => expectProblem(await postSendgrid(herald, body), 400));

  test('Mailgun: no event is refused', async () => expectProblem(await postMailgun(herald, []), 400));

  test('OneSignal: another template’s fields are refused', async () =>
    expectProblem(await postOnesignal(herald, { 'event.id': undefined, 'event.kind': 'message.push.sent' }), 400));

  test.each([
    ['empty', ''],
    ['no mail', '550 no such user'],
  ])('bounces: a body that is %s is refused', async (_, body) => expectProblem(await postBounce(herald, body), 400));

  test('a body over 1 MiB is refused', async () => {
    expectProblem(await postSendgrid(herald, ' '.repeat(1024 * 1024 + 1)), 413);
  });

  test('what is not for us is passed over, and does not take the others with it', async () => {
    const mail = await givenDelivered();
    const known = { email: mail.email, notification_id: mail.id };
    const batch = [
      sendgridEvent('processed', known),
      sendgridEvent('open', { ...known, useragent: 'Mozilla/5.0' }),
      sendgridEvent('click', { ...known, url: 'https://example.com' }),
      sendgridEvent('a new one', known),
      { event: 'bounce' },
      'bounce',
      null,
      sendgridEvent('delivered', { ...known, response: '250 2.0.0 OK 1461095248 m143si2210036ioe.159 - gsmtp' }),
    ];
    expect(await postSendgrid(herald, batch)).toMatchObject({ status: 200, body: { recorded: 1, ignored: 7 } });
    expect((await read(mail.id)).feedback).toMatchObject([{ event: 'CONFIRMED', detail: { provider: 'sendgrid' } }]);
    expect(await postSendgrid(herald, [])).toMatchObject({ status: 200, body: { recorded: 0, ignored: 0 } });
    expect(await postMailgun(herald, mailgunEvent('opened', mail.email, mail.id))).toMatchObject({
      body: { recorded: 0, ignored: 1 },
    });
    expect(await postOnesignal(herald, { 'event.kind': 'message.email.bounced' })).toMatchObject({
      body: { recorded: 0, ignored: 1 },
    });
    const absence = 'From: ada@example.com\nSubject: Away\nAuto-Submitted: auto-replied\n\nI am away.\n';
    expect(await postBounce(herald, absence)).toMatchObject({ status: 200, body: { recorded: 0, ignored: 1 } });
  });
});

describe('what each provider says', () => {
  type Said = Awaited<ReturnType<typeof givenDelivered>>;
  const cases: [string, (mail: Said) => Promise<{ status: number }>, object, boolean][] = [
    [
      'SendGrid: a bounce',
      ({ id, email }) => postSendgrid(herald, [sendgridBounce({ email, notification_id: id })]),
      { event: 'BOUNCED', detail: { permanent: true, reason: expect.stringContaining('5.1.1') } },
      true,
    ],
    [
      'SendGrid: a block',
      ({ id, email }) => postSendgrid(herald, [sendgridBounce({ email, notification_id: id, type: 'blocked' })]),
      { event: 'BOUNCED', detail: { permanent: true } },
      false,
    ],
    [
      'SendGrid: a drop of an address that bounced before',
      ({ id, email }) =>
        postSendgrid(herald, [sendgridEvent('dropped', { email, notification_id: id, reason: 'Bounced Address' })]),
      { event: 'BOUNCED', detail: { permanent: true, reason: 'Bounced Address' } },
      true,
    ],
    [
      'SendGrid: a drop for the content',
      ({ id, email }) =>
        postSendgrid(herald, [sendgridEvent('dropped', { email, notification_id: id, reason: 'Spam Content' })]),
      { event: 'BOUNCED', detail: { permanent: true } },
      false,
    ],
    [
      'SendGrid: a deferral',
      ({ id, email }) =>
        postSendgrid(herald, [
          sendgridEvent('deferred', { email, notification_id: id, attempt: '1', response: '400 try again later' }),
        ]),
      { event: 'DEFERRED', detail: { reason: '400 try again later' } },
      false,
    ],
    [
      'SendGrid over SMTP: our Message-ID instead of a custom argument',
      ({ messageId, email }) =>
        postSendgrid(herald, [sendgridEvent('delivered', { email, 'smtp-id': `<${messageId}>` })]),
      { event: 'CONFIRMED' },
      false,
    ],
    [
      'SendGrid: a spam report',
      ({ id, email }) => postSendgrid(herald, [sendgridEvent('spamreport', { email, notification_id: id })]),
      { event: 'COMPLAINED' },
      true,
    ],
    [
      'Mailgun: a delivery',
      ({ id, email }) =>
        postMailgun(
          herald,
          mailgunEvent('delivered', email, id, { 'delivery-status': { code: 250, message: 'OK', tls: true } }),
        ),
      { event: 'CONFIRMED', detail: { provider: 'mailgun', reason: 'OK' } },
      false,
    ],
    [
      'Mailgun: a permanent failure',
      ({ id, email }) =>
        postMailgun(
          herald,
          mailgunEvent('failed', email, id, {
            severity: 'permanent',
            reason: 'bounce',
            'delivery-status': { code: 550, message: '5.1.1 The email account\ndoes not exist' },
          }),
        ),
      { event: 'BOUNCED', detail: { permanent: true, reason: '5.1.1 The email account does not exist' } },
      true,
    ],
    [
      'Mailgun: a permanent failure for its age',
      ({ id, email }) =>
        postMailgun(herald, mailgunEvent('failed', email, id, { severity: 'permanent', reason: 'old' })),
      { event: 'BOUNCED', detail: { permanent: true, reason: 'old' } },
      false,
    ],
    [
      'Mailgun: a temporary failure',
      ({ id, email }) =>
        postMailgun(herald, mailgunEvent('failed', email, id, { severity: 'temporary', reason: 'greylisted' })),
      { event: 'DEFERRED', detail: { reason: 'greylisted' } },
      false,
    ],
    [
      'Mailgun: a complaint, by our Message-ID',
      ({ messageId, email }) =>
        postMailgun(
          herald,
          mailgunEvent('complained', email, null, { message: { headers: { 'message-id': messageId } } }),
        ),
      { event: 'COMPLAINED' },
      true,
    ],
    [
      'Postfix: no such user',
      ({ messageId, email }) => postBounce(herald, postfixDsn({ to: email, messageId })),
      { event: 'BOUNCED', detail: { provider: 'bounces', permanent: true, at: '2026-11-23T21:07:03.000Z' } },
      true,
    ],
    [
      'Postfix: a full mailbox',
      ({ messageId, email }) =>
        postBounce(herald, postfixDsn({ to: email, messageId }, { status: '5.2.2', said: '552 5.2.2 Mailbox full' })),
      { event: 'BOUNCED', detail: { permanent: true, reason: '552 5.2.2 Mailbox full' } },
      false,
    ],
    [
      'Postfix: given up after days',
      ({ messageId, email }) =>
        postBounce(herald, postfixDsn({ to: email, messageId }, { status: '4.4.1', said: 'connect timed out' })),
      { event: 'BOUNCED', detail: { permanent: true } },
      false,
    ],
    [
      'Postfix: a delay',
      ({ messageId, email }) =>
        postBounce(herald, postfixDsn({ to: email, messageId }, { action: 'delayed', status: '4.4.1', said: 'busy' })),
      { event: 'DEFERRED' },
      false,
    ],
    [
      'Exim',
      ({ messageId, email }) => postBounce(herald, eximDsn({ to: email, messageId }), { 'content-type': 'text/plain' }),
      { event: 'BOUNCED', detail: { permanent: true, reason: expect.stringMatching(/^550 5\.1\.1/) } },
      true,
    ],
    [
      'Exim: a spam filter',
      ({ messageId, email }) => postBounce(herald, eximDsn({ to: email, messageId }, '554 5.7.1 looks like spam')),
      { event: 'BOUNCED', detail: { permanent: true } },
      false,
    ],
    [
      'Gmail',
      ({ messageId, email }) => postBounce(herald, gmailDsn({ to: email, messageId })),
      { event: 'BOUNCED', detail: { permanent: true, reason: expect.stringContaining('unnecessary spaces') } },
      true,
    ],
  ];

  test.each(cases)('%s', async (_, say, entry, isSuppressed) => {
    const mail = await givenDelivered();
    expect(await say(mail)).toMatchObject({ status: 200, body: { recorded: 1, ignored: 0 } });
    const { status, feedback } = await read(mail.id);
    expect(feedback).toMatchObject([entry]);
    expect(status).toBe(feedback[0]?.['detail'].permanent === true ? 'failed' : 'delivered');
    expect((await suppressed(mail.email)).length).toBe(isSuppressed ? 1 : 0);
  });

  test.each([
    ['received', 'CONFIRMED', 0],
    ['failed', 'BOUNCED', 0],
    ['unsubscribed', 'UNSUBSCRIBED', 1],
  ])('OneSignal: a push message was %s', async (what, event, suppressions) => {
    const { id, providerId } = await givenDelivered('push');
    const device = randomUUID();
    await herald.sql('notification', `UPDATE attempt SET provider = 'onesignal' WHERE notification_id = $1`, [id]);
    const fields = { 'event.kind': `message.push.${what}`, 'message.id': providerId, 'event.subscription_id': device };
    expect(await postOnesignal(herald, fields)).toMatchObject({ status: 200, body: { recorded: 1 } });
    // One device of perhaps several: the notification stays delivered.
    expect(await read(id)).toMatchObject({
      status: 'delivered',
      feedback: [{ event, detail: { provider: 'onesignal' } }],
    });
    expect((await suppressed(device)).length).toBe(suppressions);

    const named = await givenDelivered('push');
    await postOnesignal(herald, { ...fields, 'message.id': '', 'message.name': named.id });
    expect((await read(named.id)).feedback).toMatchObject([{ event }]);
  });

  test('words that no database keeps, or longer than we do, are cut and kept', async () => {
    const mail = await givenDelivered();
    const reason = `550 \0 \uD800 ${'x'.repeat(5_000)}`;
    await postSendgrid(herald, [sendgridBounce({ email: mail.email, notification_id: mail.id, reason })]);
    const [{ detail }] = (await read(mail.id)).feedback as [{ detail: { reason: string } }];
    expect(detail.reason).toHaveLength(1_000);
    expect(await suppressed(mail.email)).toHaveLength(1);
  });
});

describe('a provider that got no answer', () => {
  test('repeats, and it counts once', async () => {
    const mail = await givenDelivered();
    const events = [
      sendgridEvent('deferred', { email: mail.email, notification_id: mail.id }),
      sendgridBounce({ email: mail.email, notification_id: mail.id }),
    ];
    expect((await postSendgrid(herald, events)).body).toEqual({ recorded: 2, ignored: 0 });
    const before = await read(mail.id);
    // SendGrid numbers its events anew in a repeat.
    const again = events.map((event) => ({ ...event, sg_event_id: randomUUID() }));
    expect(await postSendgrid(herald, again, { timestamp: secondsAgo(20 * HOUR) })).toMatchObject({
      status: 200,
      body: { recorded: 0 },
    });
    const how = { token: randomUUID(), timestamp: secondsAgo(8 * HOUR) };
    const complaint = mailgunEvent('complained', mail.email, mail.id);
    expect((await postMailgun(herald, complaint, how)).body).toMatchObject({ recorded: 1 });
    expect((await postMailgun(herald, complaint, how)).body).toMatchObject({ recorded: 0 });
    const dsn = postfixDsn({ to: mail.email, messageId: mail.messageId });
    expect((await postBounce(herald, dsn)).body).toMatchObject({ recorded: 1 });
    expect((await postBounce(herald, dsn)).body).toMatchObject({ recorded: 0 });
    expect((await read(mail.id)).feedback.map(({ event }) => event)).toEqual([
      ...before.feedback.map(({ event }) => event),
      'COMPLAINED',
      'BOUNCED',
    ]);
    expect(await suppressed(mail.email)).toHaveLength(1);
  });

  test('is told to repeat while the notification service is away; then nothing is missing', async () => {
    const mail = await givenDelivered();
    const events = [sendgridBounce({ email: mail.email, notification_id: mail.id })];
    await herald.stopPart('notification');
    try {
      const { status, headers, body } = await postSendgrid(herald, events);
      expect({ status, code: body.type }).toEqual({ status: 503, code: 'urn:herald:problem:unavailable' });
      expect(headers['retry-after']).toBe('30');
    } finally {
      await herald.startPart('notification');
    }
    expect(await postSendgrid(herald, events)).toMatchObject({ status: 200, body: { recorded: 1 } });
    expect(await read(mail.id)).toMatchObject({ status: 'failed', reason: 'BOUNCED' });
  });
});

test('a batch of 2,000 is taken whole', async () => {
  const mails = await Promise.all(Array.from({ length: 20 }, () => givenDelivered()));
  const events = Array.from({ length: 2_000 }, (_, place) => {
    const mail = mails[place % mails.length];
    const fields = { email: mail?.email, notification_id: mail?.id, timestamp: 1_795_468_000 + place };
    return place < 980 ? { event: 'delivered', ...fields } : { event: 'bounce', type: 'bounce', ...fields };
  });
  expect(await postSendgrid(herald, events)).toMatchObject({ status: 200, body: { recorded: 2_000, ignored: 0 } });
  for (const mail of mails) {
    const { status, reason, feedback } = await read(mail.id);
    expect({ status, reason, count: feedback.length }).toEqual({ status: 'failed', reason: 'BOUNCED', count: 100 });
    expect(feedback[0]?.['detail'].at).toMatch(/^2026-11-23T/);
  }
});

test('each webhook is closed without its key, and says which one', async () => {
  await herald.stop();
  herald = await startHerald({ parts: ['gateway'] });
  for (const [provider, variable] of Object.entries(WEBHOOK_VARIABLES)) {
    const answer = await herald.rest('POST', `/webhooks/${provider}`, {}, { authorization: undefined });
    expectProblem(answer, 404);
    expect(answer.body.detail).toContain(variable);
  }
});
