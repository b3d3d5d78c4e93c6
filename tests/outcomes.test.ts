import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { publish, takeAll } from './amqp.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { startScriptedSmtp, type ScriptedSmtp, type Step } from './scripted-smtp.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

/** Many hand-overs on a busy machine. */
const PATIENT = { timeoutMs: 15_000 };

describe.skipIf(!hasServices)('what becomes of a mail', () => {
  let smtp: ScriptedSmtp;
  let herald: Herald;
  let template: string;
  const letters: Letter[] = [];
  beforeAll(async () => {
    smtp = await startScriptedSmtp();
    herald = await startHerald({
      smtpUrl: smtp.url,
      retry: { baseSeconds: 0.1, capSeconds: 0.3, giveUpSeconds: 3 },
      providerTimeoutMs: 500,
      // So many failures would open the circuit.
      breaker: { minSends: 1_000 },
    });
    template = await givenTemplate(herald);
  });
  afterAll(async () => {
    await herald?.stop();
    await smtp?.stop();
  });

  /** Sends to a new user whose address meets these steps. */
  async function givenMail(steps: Step[], fields: object = {}) {
    const email = `${randomUUID()}@example.com`;
    smtp.script(email, ...steps);
    const user = await givenUser(herald, { email });
    const id = await givenSent(herald, user, template, fields);
    return { id, email, user };
  }

  /** @returns the notification once it has ended, with the classes and reasons of its attempts */
  async function readEnded(id: string) {
    const ended = await until(async () => {
      const read = await readNotification(herald, id);
      return read.status !== 'pending' && read;
    }, PATIENT);
    return { ...ended, tries: await readAttempts(id) };
  }

  const readAttempts = (id: string) =>
    herald.sql('notification', 'SELECT class, reason FROM attempt WHERE notification_id = $1 ORDER BY number', [id]);

  /** The messages of failed.queue that the condition holds for; what is taken from the queue is remembered. */
  async function findLetters(isWanted: (letter: Letter) => boolean): Promise<Letter[]> {
    letters.push(...((await takeAll(herald.amqpUrl, herald.names.queues.failed)) as Letter[]));
    return letters.filter(isWanted);
  }
  const lettersOf = (id: string) => findLetters((letter) => letter.notificationId === id);

  test.each<[string, Step, string]>([
    ['an unknown mailbox', { toRecipient: '550 5.1.1 no such user here' }, 'ADDRESS_DEAD'],
    ['a refused message', { toMessage: '554 5.7.1 this is spam' }, 'REJECTED'],
    ['a refusal without a status', { toRecipient: '550 go away' }, 'REJECTED'],
    ['a refusal with odd bytes', { toMessage: '554 5.6.0 a\0b' }, 'REJECTED'],
  ])('%s ends it at once, and failed.queue says why', async (_, step, reason) => {
    const { id, email, user } = await givenMail([step]);
    const said = 'toRecipient' in Object(step) ? Object(step).toRecipient : Object(step).toMessage;
    const ended = await readEnded(id);
    expect(ended).toMatchObject({ status: 'failed', reason, attempts: 1 });
    expect(ended.tries[0]?.['reason']).toContain(said.slice(4, 10).replace('\0', ''));
    expect(ended.timeline.slice(-2)).toEqual(['ATTEMPT_ENDED', 'FAILED']);
    expect(smtp.accepted(email)).toEqual([]);
    await until(async () => (await lettersOf(id)).length > 0, PATIENT);
    expect(await lettersOf(id)).toEqual([
      {
        notificationId: id,
        type: 'email',
        userId: user,
        templateCode: template,
        requestId: ended.request_id,
        reason,
        attempts: 1,
        lastError: ended.tries[0]?.['reason'],
        failedAt: expect.stringMatching(/^\d{4}-/),
      },
    ]);
  });

  test('a refusal that goes on and on is kept to its first 2,000 characters, and reported like any other', async () => {
    const { id } = await givenMail([{ toMessage: `554 5.7.1 ${'no'.repeat(6_000)}` }]);
    const { tries, ...ended } = await readEnded(id);
    expect(ended).toMatchObject({ status: 'failed', reason: 'REJECTED', attempts: 1 });
    expect(tries[0]?.['reason']).toMatch(/5\.7\.1 nono/);
    expect(tries[0]?.['reason'].length).toBeLessThanOrEqual(2_000);
  });

  test('a refusal for now is tried again, until it is taken', async () => {
    const { id, email } = await givenMail([{ toRecipient: '450 4.2.1 mailbox busy' }, 'accept']);
    const ended = await readEnded(id);
    expect(ended).toMatchObject({ status: 'delivered', reason: null, attempts: 2 });
    expect(ended.tries).toMatchObject([{ class: 'transient' }, { class: 'accepted' }]);
    expect(ended.timeline).toEqual([
      'ACCEPTED',
      'QUEUED',
      'ATTEMPT_STARTED',
      'ATTEMPT_ENDED',
      'RETRY_SCHEDULED',
      'QUEUED',
      'ATTEMPT_STARTED',
      'ATTEMPT_ENDED',
      'DELIVERED',
    ]);
    expect(smtp.accepted(email)).toEqual([`${id}@herald.example`]);
    expect(await lettersOf(id)).toEqual([]);
  });

  test('a refusal for now that never ends is tried until the schedule ends, and is a dead letter', async () => {
    const { id } = await givenMail([{ toMessage: '451 4.3.0 come back later' }]);
    const ended = await readEnded(id);
    expect(ended).toMatchObject({ status: 'failed', reason: 'RETRIES_EXHAUSTED' });
    expect(ended.attempts).toBeGreaterThan(5);
    expect(new Set(ended.tries.map((attempt: { class: string }) => attempt.class))).toEqual(new Set(['transient']));
    await until(async () => (await lettersOf(id)).length > 0, PATIENT);
    expect(await lettersOf(id)).toMatchObject([{ reason: 'RETRIES_EXHAUSTED', attempts: ended.attempts }]);
  });

  test('a server that is down is tried again later', async () => {
    await smtp.stop();
    const { id, email } = await givenMail(['accept']);
    await until(async () => (await readNotification(herald, id)).timeline.includes('RETRY_SCHEDULED'), PATIENT);
    await smtp.start();
    const ended = await readEnded(id);
    expect(ended.status).toBe('delivered');
    expect(ended.attempts).toBeGreaterThan(1);
    expect(smtp.accepted(email)).toEqual([`${id}@herald.example`]);
  });

  describe.each<Step>(['hang', 'reset'])('when nobody knows whether it was accepted (%s)', (step) => {
    test('it is sent again, with the same Message-ID', async () => {
      const { id, email } = await givenMail([step, 'accept'], { on_ambiguous: 'resend' });
      const ended = await readEnded(id);
      expect(ended).toMatchObject({ status: 'delivered', attempts: 2 });
      expect(ended.tries).toMatchObject([{ class: 'unknown' }, { class: 'accepted' }]);
      expect(smtp.accepted(email)).toEqual([`${id}@herald.example`]);
    });

    test('it is not sent again, where the send asked for at most once', async () => {
      const { id, email } = await givenMail([step, 'accept'], { on_ambiguous: 'fail' });
      const ended = await readEnded(id);
      expect(ended).toMatchObject({ status: 'failed', reason: 'OUTCOME_UNKNOWN', attempts: 1 });
      expect(ended.tries).toMatchObject([{ class: 'unknown' }]);
      expect(smtp.accepted(email)).toEqual([]);
    });
  });

  test('a job that comes after its deadline ends as EXPIRED, unsent, and is no dead letter', async () => {
    const email = `${randomUUID()}@example.com`;
    const user = await givenUser(herald, { email });
    await herald.stopPart('email');
    const expiresAt = Date.now() + 500;
    const id = await givenSent(herald, user, template, { expires_at: new Date(expiresAt).toISOString() });
    await until(() => Date.now() > expiresAt);
    await herald.startPart('email');
    expect(await readEnded(id)).toMatchObject({ status: 'failed', reason: 'EXPIRED', attempts: 0 });
    expect(smtp.accepted(email)).toEqual([]);
    expect(await lettersOf(id)).toEqual([]);
  });

  const publishJob = (body: string) => publish(herald.amqpUrl, herald.names.direct, 'email', body);

  test.each([
    ['text', 'not a job'],
    ['nothing', ''],
    ['JSON that is no job', '{"id":1}'],
    ['a job without a UUID', '{"notificationId":"ada"}'],
    ['a job with more in it', `{"notificationId":"${randomUUID()}","extra":true}`],
  ])('%s on email.queue goes to failed.queue as it is, and the next job is handled', async (_, body) => {
    const poison = body.startsWith('{') ? JSON.parse(body) : body;
    await publishJob(body);
    await until(
      async () => (await findLetters((letter) => JSON.stringify(letter) === JSON.stringify(poison))).length > 0,
      PATIENT,
    );
    const { id } = await givenMail(['accept']);
    expect(await readEnded(id)).toMatchObject({ status: 'delivered' });
  });

  test('a job whose notification does not exist goes to failed.queue, and the next job is handled', async () => {
    const unknown = randomUUID();
    await publishJob(JSON.stringify({ notificationId: unknown }));
    await until(async () => (await lettersOf(unknown)).length > 0, PATIENT);
    expect(await lettersOf(unknown)).toEqual([{ notificationId: unknown }]);
    const { id } = await givenMail(['accept']);
    expect(await readEnded(id)).toMatchObject({ status: 'delivered' });
    // A message that was delivered and not acked goes back when its consumer leaves.
    await herald.stopPart('email');
    expect(await takeAll(herald.amqpUrl, herald.names.queues.email)).toEqual([]);
    await herald.startPart('email');
  });

  test('a job on the queue of the other type goes to failed.queue, and its notification to its own worker', async () => {
    await herald.stopPart('push');
    const { id } = await givenMail([], { notification_type: 'push' });
    await publishJob(JSON.stringify({ notificationId: id }));
    await until(async () => (await lettersOf(id)).length > 0, PATIENT);
    expect(await lettersOf(id)).toEqual([{ notificationId: id }]);
    expect(await readNotification(herald, id)).toMatchObject({ status: 'pending', attempts: 0 });
    await herald.startPart('push');
    expect(await readEnded(id)).toMatchObject({ status: 'delivered', attempts: 1 });
  });

  test('a job that spells the id in capitals is the same job', async () => {
    const { id } = await givenMail(['accept'], { send_at: new Date(Date.now() + 3_600_000).toISOString() });
    await herald.sql('notification', 'UPDATE notification SET due_at = now() WHERE id = $1', [id]);
    await publishJob(JSON.stringify({ notificationId: id.toUpperCase() }));
    expect(await readEnded(id)).toMatchObject({ status: 'delivered' });
  });

  // The last: it stops the provider for a while.
  test('a fault of the configuration waits for the operator and uses up no try', async () => {
    const { id } = await givenMail([{ toRecipient: '530 5.7.0 authenticate first' }]);
    await until(async () => (await readNotification(herald, id)).timeline.includes('RETRY_SCHEDULED'), PATIENT);
    const standing = `SELECT status, failures, due_at > now() + interval '20 seconds' AS later FROM notification WHERE id = $1`;
    expect(await herald.sql('notification', standing, [id])).toEqual([{ status: 'pending', failures: 0, later: true }]);
    expect(await readAttempts(id)).toMatchObject([{ class: 'configuration' }]);
  });
});

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- whatever lies on failed.queue
type Letter = any;
