import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import webPush from 'web-push';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AddPushTokenDocument, ProvidersDocument, PushTokensDocument } from '../client/generated/operations.ts';
import { createCertificate } from './fakes/certificate.ts';
import { startFcmFake, type FcmFake } from './fakes/fcm.ts';
import { startOneSignalFake, type OneSignalFake } from './fakes/onesignal.ts';
import type { Step } from './fakes/script.ts';
import { startSendgridFake, type SendgridFake } from './fakes/sendgrid.ts';
import { startWebPushFake, type WebPushFake } from './fakes/web-push.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { makeFolder, type PrivateFolder } from './private-folder.ts';
import { startScriptedSmtp, type ScriptedSmtp } from './scripted-smtp.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const PATIENT = { timeoutMs: 15_000 };
const FOR_NOW = { status: 503, body: { errors: [{ message: 'later' }] } };
const IN_AN_HOUR = { ...FOR_NOW, headers: { 'retry-after': '3600' } };

/** What the attempts of a notification came to, in their order. */
const readAttempts = (herald: Herald, id: string) =>
  herald.sql('notification', 'SELECT provider, class FROM attempt WHERE notification_id = $1 ORDER BY number', [id]);

const providerOf = async (herald: Herald, name: string) =>
  (await herald.graphql(ProvidersDocument, {})).providers.find((provider) => provider.name === name);

describe('two e-mail providers', { timeout: 30_000 }, () => {
  let sendgrid: SendgridFake;
  let smtp: ScriptedSmtp;
  let herald: Herald;
  let template: string;
  beforeAll(async () => {
    [sendgrid, smtp] = await Promise.all([startSendgridFake(), startScriptedSmtp()]);
    herald = await startHerald({
      smtpUrl: smtp.url,
      emailProviders: ['sendgrid', 'smtp'],
      providerEnv: { SENDGRID_API_KEY: sendgrid.apiKey, SENDGRID_BASE_URL: sendgrid.url },
      providerTimeoutMs: 500,
      retry: { baseSeconds: 0.1, capSeconds: 0.2, giveUpSeconds: 1 },
      breaker: { minSends: 1_000, resetMs: 500 },
    });
    template = await givenTemplate(herald);
  });
  afterAll(async () => {
    await herald?.stop();
    await Promise.all([sendgrid?.stop(), smtp?.stop()]);
  });

  async function givenMail(steps: Step[], fields: object = {}) {
    const email = `${randomUUID()}@example.com`;
    sendgrid.script.set(email, ...steps);
    const user = await givenUser(herald, { email });
    return { email, id: await givenSent(herald, user, template, fields) };
  }
  const ended = (id: string) =>
    until(async () => {
      const read = await readNotification(herald, id);
      return read.status !== 'pending' && read;
    }, PATIENT);
  /** Where a notification stands when its worker has reported. */
  const afterFirstRound = (id: string) =>
    until(async () => {
      const [row] = await herald.sql(
        'notification',
        `SELECT status, failures, due_at > now() + interval '50 minutes' AS "isInAnHour" FROM notification n
         WHERE id = $1 AND EXISTS (SELECT FROM attempt a WHERE a.notification_id = n.id AND a.applied_at IS NOT NULL)`,
        [id],
      );
      return row ?? false;
    }, PATIENT);
  const arrived = (email: string) => ({
    sendgrid: sendgrid.accepted(email).length,
    smtp: smtp.accepted(email).length,
  });

  test('are tried in their order: what the first takes never reaches the second', async () => {
    const { id, email } = await givenMail(['accept']);
    expect(await ended(id)).toMatchObject({ status: 'delivered', attempts: 1 });
    expect(arrived(email)).toEqual({ sendgrid: 1, smtp: 0 });
    expect(await readAttempts(herald, id)).toEqual([{ provider: 'sendgrid', class: 'accepted' }]);
  });

  test('the second takes at once what the first surely did not', async () => {
    const { id, email } = await givenMail([FOR_NOW]);
    expect(await ended(id)).toMatchObject({ status: 'delivered', attempts: 2 });
    expect(arrived(email)).toEqual({ sendgrid: 0, smtp: 1 });
    expect(await readAttempts(herald, id)).toEqual([
      { provider: 'sendgrid', class: 'transient' },
      { provider: 'smtp', class: 'accepted' },
    ]);
    const events = (await readNotification(herald, id)).timeline.filter((event: string) => event !== 'QUEUED');
    expect(events).toEqual([
      'ACCEPTED',
      'ATTEMPT_STARTED',
      'ATTEMPT_ENDED',
      'ATTEMPT_STARTED',
      'ATTEMPT_ENDED',
      'DELIVERED',
    ]);
  });

  test('the second is tried too when the first wants a wait beyond what any column takes', async () => {
    const { id, email } = await givenMail([{ ...FOR_NOW, headers: { 'retry-after': '99999999999' } }]);
    expect(await ended(id)).toMatchObject({ status: 'delivered', attempts: 2 });
    expect(arrived(email)).toEqual({ sendgrid: 0, smtp: 1 });
  });

  test.each<[string, Step]>([
    ['hangs', 'hang'],
    ['cuts the connection after it took the message', 'reset_after'],
  ])('the second is not tried when the first %s: nobody knows', async (_, step) => {
    const { id, email } = await givenMail([step], { on_ambiguous: 'fail' });
    expect(await ended(id)).toMatchObject({ status: 'failed', reason: 'OUTCOME_UNKNOWN', attempts: 1 });
    expect(arrived(email).smtp).toBe(0);
  });

  test('the second is not tried with a message that the first refuses for good', async () => {
    const refusal = { status: 400, body: { errors: [{ message: 'bad content', field: 'content', help: null }] } };
    const { id, email } = await givenMail([refusal]);
    expect(await ended(id)).toMatchObject({ status: 'failed', reason: 'REJECTED', attempts: 1 });
    expect(arrived(email)).toEqual({ sendgrid: 0, smtp: 0 });
  });

  test('one try of the schedule is used up when neither takes it, and the longer wait holds', async () => {
    const { id, email } = await givenMail([IN_AN_HOUR]);
    smtp.script(email, { toRecipient: '450 4.2.1 later' });
    expect(await afterFirstRound(id)).toEqual({ status: 'pending', failures: 1, isInAnHour: true });
    expect((await readAttempts(herald, id)).map(({ provider }) => provider)).toEqual(['sendgrid', 'smtp']);
  });

  test('a key that is refused pauses the first, loudly, and the second goes on', async () => {
    const refused = { status: 401, body: { errors: [{ message: 'The provided authorization grant is invalid' }] } };
    const first = await givenMail([refused]);
    expect(await ended(first.id)).toMatchObject({ status: 'delivered' });
    expect(arrived(first.email)).toEqual({ sendgrid: 0, smtp: 1 });
    await until(async () => (await providerOf(herald, 'sendgrid'))?.state !== 'CLOSED', PATIENT);
    expect((await providerOf(herald, 'sendgrid'))?.reason).toMatch(/authorization grant is invalid/);
    // It is tried again by itself, and comes back.
    await until(async () => {
      const { id } = await givenMail(['accept']);
      await ended(id);
      return (await providerOf(herald, 'sendgrid'))?.state === 'CLOSED';
    }, PATIENT);
  });

  test('a try is used up also when the second refuses us after the first failed for now', async () => {
    const { id, email } = await givenMail([IN_AN_HOUR]);
    smtp.script(email, { toRecipient: '530 5.7.0 log in' });
    expect(await afterFirstRound(id)).toEqual({ status: 'pending', failures: 1, isInAnHour: true });
    await until(async () => (await providerOf(herald, 'smtp'))?.state === 'PAUSED', PATIENT);
  });
});

describe('a provider that lacks its credentials', { timeout: 30_000 }, () => {
  test('lets the worker start, says so, and the jobs wait instead of failing', async () => {
    const herald = await startHerald({ emailProviders: ['sendgrid'], broker: 'embedded' });
    try {
      const { body } = await herald.rest('GET', `${herald.urlOf('email')}/health`);
      const missing = 'SENDGRID_API_KEY is not set: an API key with the permission Mail Send';
      expect(body).toMatchObject({ status: 'ok', providers: { sendgrid: { state: 'paused', reason: missing } } });
      await until(async () => (await providerOf(herald, 'sendgrid'))?.state === 'PAUSED', PATIENT);
      const id = await givenSent(herald, await givenUser(herald), await givenTemplate(herald));
      await until(async () => (await readNotification(herald, id)).timeline.includes('QUEUED'), PATIENT);
      expect(await readNotification(herald, id)).toMatchObject({ status: 'pending', attempts: 0 });
    } finally {
      await herald.stop();
    }
  });

  test('with wrong ones is paused from the start', async () => {
    const sendgrid = await startSendgridFake();
    const providerEnv = { SENDGRID_API_KEY: 'SG.wrong', SENDGRID_BASE_URL: sendgrid.url };
    const herald = await startHerald({ emailProviders: ['sendgrid'], providerEnv, broker: 'embedded' });
    try {
      await until(async () => (await providerOf(herald, 'sendgrid'))?.state === 'PAUSED', PATIENT);
      expect((await providerOf(herald, 'sendgrid'))?.reason).toMatch(/SENDGRID_API_KEY/);
    } finally {
      await herald.stop();
      await sendgrid.stop();
    }
  });

  test('and one whose base URL is somebody else without TLS, is never asked', async () => {
    const providerEnv = { SENDGRID_API_KEY: 'SG.key', SENDGRID_BASE_URL: 'http://mail.example.com' };
    const herald = await startHerald({ emailProviders: ['sendgrid'], providerEnv, broker: 'embedded' });
    try {
      const { body } = await herald.rest('GET', `${herald.urlOf('email')}/health`);
      expect(body.providers.sendgrid).toEqual({
        state: 'paused',
        reason: 'SENDGRID_BASE_URL is wrong: must be an https:// URL, or an http:// URL of this machine',
      });
    } finally {
      await herald.stop();
    }
  });
});

describe('devices of three kinds', { timeout: 30_000 }, () => {
  let folder: PrivateFolder;
  let fcm: FcmFake;
  let web: WebPushFake;
  let onesignal: OneSignalFake;
  let herald: Herald;
  let template: string;
  const keys = webPush.generateVAPIDKeys();
  beforeAll(async () => {
    folder = await makeFolder('provider-chain');
    const certificate = await createCertificate();
    const ca = join(folder.path, 'ca.pem');
    await writeFile(ca, certificate.cert);
    [fcm, web, onesignal] = await Promise.all([
      startFcmFake(certificate),
      startWebPushFake(certificate),
      startOneSignalFake(),
    ]);
    const account = join(folder.path, 'account.json');
    await writeFile(account, JSON.stringify(fcm.serviceAccount));
    herald = await startHerald({
      pushProviders: ['fcm', 'webpush', 'onesignal'],
      providerEnv: {
        PROVIDER_CA_FILE: ca,
        FCM_SERVICE_ACCOUNT: account,
        FCM_BASE_URL: fcm.url,
        VAPID_SUBJECT: 'mailto:ops@example.com',
        VAPID_PUBLIC_KEY: keys.publicKey,
        VAPID_PRIVATE_KEY: keys.privateKey,
        WEBPUSH_ALLOWED_HOSTS: web.host,
        ONESIGNAL_APP_ID: onesignal.appId,
        ONESIGNAL_API_KEY: onesignal.apiKey,
        ONESIGNAL_BASE_URL: onesignal.url,
      },
      providerTimeoutMs: 2_000,
      retry: { baseSeconds: 0.1, capSeconds: 0.2, giveUpSeconds: 30 },
      breaker: { minSends: 1_000 },
    });
    template = await givenTemplate(herald, {
      push: {
        title: 'Hello {{ name }}',
        body: 'Grüße',
        link: 'https://shop.example/1',
        data: { order: 7 },
        ttl_seconds: 600,
        collapse_key: 'order-{{ name }}',
      },
    });
  });
  afterAll(async () => {
    await herald?.stop();
    await Promise.all([fcm?.stop(), web?.stop(), onesignal?.stop()]);
    await folder?.remove();
  });

  async function givenDevices() {
    const { device, subscription } = web.subscribe(keys.publicKey);
    const phone = `${randomUUID()}:APA91b`;
    const player = randomUUID();
    const user = await givenUser(herald, { push_token: phone });
    for (const token of [subscription, player]) await herald.graphql(AddPushTokenDocument, { userId: user, token });
    return { user, phone, browser: device, player };
  }
  const push = (user: string, fields: object = {}) =>
    givenSent(herald, user, template, { notification_type: 'push', ...fields });
  const ended = (id: string) =>
    until(async () => {
      const read = await readNotification(herald, id);
      return read.status !== 'pending' && read;
    }, PATIENT);
  const dead = async (user: string) =>
    ((await herald.graphql(PushTokensDocument, { userId: user })).user?.pushTokens ?? [])
      .filter(({ deadAt }) => deadAt !== null)
      .map(({ kind }) => kind);

  test('all get the message, each by its own service', async () => {
    const { user, phone, browser, player } = await givenDevices();
    const id = await push(user);
    expect(await ended(id)).toMatchObject({ status: 'delivered' });
    expect(fcm.accepted(phone)).toHaveLength(1);
    expect(onesignal.accepted(player)).toHaveLength(1);
    const [inBrowser] = web.accepted(browser);
    expect(JSON.parse(inBrowser?.payload ?? '')).toEqual({
      title: 'Hello Ada',
      body: 'Grüße',
      link: 'https://shop.example/1',
      tag: 'order-Ada',
      data: { order: 7 },
    });
    expect(inBrowser).toMatchObject({ ttl: '600' });
    expect(await readAttempts(herald, id)).toEqual(
      ['fcm', 'webpush', 'onesignal'].map((provider) => ({ provider, class: 'accepted' })),
    );
    // Each with the id that its own provider gave.
    const ids = await herald.sql(
      'notification',
      'SELECT provider_message_id AS id FROM attempt WHERE notification_id = $1 ORDER BY number',
      [id],
    );
    expect(ids.map((row) => String(row.id))).toEqual([
      expect.stringMatching(/^projects\//),
      expect.stringMatching(/^https:/),
      expect.stringMatching(/^[0-9a-f-]{36}$/),
    ]);
  });

  test('that are gone are marked; where one has it, the message is delivered', async () => {
    const { user, phone, browser, player } = await givenDevices();
    web.script.set(browser, { status: 410, body: '' });
    const id = await push(user);
    expect(await ended(id)).toMatchObject({ status: 'delivered' });
    expect([fcm.accepted(phone).length, onesignal.accepted(player).length]).toEqual([1, 1]);
    await until(async () => (await dead(user)).length === 1, PATIENT);
    expect(await dead(user)).toEqual(['WEBPUSH']);
    const requests = web.script.requests(browser);
    await ended(await push(user));
    expect(web.script.requests(browser)).toBe(requests);
  });

  test('that are all gone end it as ADDRESS_DEAD', async () => {
    const { user, phone, browser, player } = await givenDevices();
    const unregistered = {
      status: 404,
      body: {
        error: {
          code: 404,
          message: 'Requested entity was not found.',
          status: 'NOT_FOUND',
          details: [{ '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode: 'UNREGISTERED' }],
        },
      },
    };
    fcm.script.set(phone, unregistered);
    web.script.set(browser, { status: 404, body: '' });
    onesignal.script.set(player, {
      status: 200,
      body: { id: '', errors: ['All included players are not subscribed'] },
    });
    expect(await ended(await push(user))).toMatchObject({ status: 'failed', reason: 'ADDRESS_DEAD', attempts: 3 });
    await until(async () => (await dead(user)).length === 3, PATIENT);
  });

  test('that can not be reached for now are tried again', async () => {
    const { device, subscription } = web.subscribe(keys.publicKey);
    const user = await givenUser(herald, { push_token: subscription });
    web.script.set(device, { status: 503, headers: { 'retry-after': '0' }, body: '' }, 'accept');
    expect(await ended(await push(user))).toMatchObject({ status: 'delivered', attempts: 2 });
    expect(web.accepted(device)).toHaveLength(1);
  });

  test('whose service could never take the message make the send fail at once', async () => {
    const huge = await givenTemplate(herald, { push: { title: 'T', body: '{{ name }}' } });
    const user = await givenUser(herald, { push_token: web.subscribe(keys.publicKey).subscription });
    const answer = await herald.rest('POST', '/api/v1/notifications/', {
      notification_type: 'push',
      user_id: user,
      template_code: huge,
      variables: { name: 'x'.repeat(4_000) },
      request_id: randomUUID(),
    });
    expect(answer).toMatchObject({ status: 422, body: { errors: [{ field: 'variables', code: 'TOO_LARGE' }] } });
    expect(answer.body.detail).toMatch(/3993 bytes/);
  });
});
