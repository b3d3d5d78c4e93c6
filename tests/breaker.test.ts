import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProvidersDocument } from '../client/generated/operations.ts';
import { withChannel } from './amqp.ts';
import { givenSent, givenTemplate, givenUser } from './given.ts';
import { startScriptedSmtp, type ScriptedSmtp, type Step } from './scripted-smtp.ts';
import { hasServices, startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

const PATIENT = { timeoutMs: 15_000 };
/** Long enough to look at an open circuit, short enough to see it close. */
const RESET_MS = 1_500;

describe.skipIf(!hasServices)('a provider that fails', { timeout: 45_000 }, () => {
  let smtp: ScriptedSmtp;
  let herald: Herald;
  let template: string;
  beforeEach(async () => {
    smtp = await startScriptedSmtp();
    herald = await startHerald({
      smtpUrl: smtp.url,
      concurrency: 5,
      providerTimeoutMs: 1_000,
      retry: { baseSeconds: 0.1, capSeconds: 0.2 },
      breaker: { minSends: 4, resetMs: RESET_MS },
    });
    template = await givenTemplate(herald);
  });
  afterEach(async () => {
    await herald?.stop();
    await smtp?.stop().catch(() => {});
  });

  /** Sends to one new user whose hand-overs meet these steps. */
  async function givenMails(count: number, ...steps: Step[]) {
    const email = `${randomUUID()}@example.com`;
    smtp.script(email, ...steps);
    const user = await givenUser(herald, { email });
    const ids: string[] = [];
    for (let left = count; left > 0; left -= 1) ids.push(await givenSent(herald, user, template));
    return { ids, id: ids[0] ?? '', email };
  }
  const expectAccepted = ({ ids, email }: { ids: string[]; email: string }) =>
    expect(smtp.accepted(email).sort()).toEqual(ids.map((id) => `${id}@herald.example`).sort());

  const readProvider = async () =>
    (await herald.graphql(ProvidersDocument, {})).providers.find(({ name }) => name === 'smtp');
  const seen = (state: string) => until(async () => (await readProvider())?.state === state, PATIENT);
  const readReady = () => herald.rest('GET', `${herald.urlOf('email')}/ready`);
  const readQueue = () => withChannel(herald.amqpUrl, (channel) => channel.checkQueue(herald.names.queues.email));
  const standing = (ids: string[]) =>
    herald.sql('notification', 'SELECT status, attempts, failures FROM notification WHERE id = ANY ($1)', [ids]);
  const pushOf = async () =>
    (await herald.graphql(ProvidersDocument, {})).providers.find(({ name }) => name !== 'smtp');

  test('is left alone: jobs stay in the queue, no try is used up, and everything goes out when it is back', async () => {
    await seen('CLOSED');
    const ready = await until(async () => {
      const answer = await readReady();
      return answer.status === 200 && answer;
    }, PATIENT);
    expect(ready.body).toMatchObject({ checks: { smtp: { state: 'up' } } });
    await smtp.stop();
    const first = await givenMails(5, 'accept');
    await seen('OPEN');
    expect(await readProvider()).toMatchObject({ notificationType: 'EMAIL', workers: 1, reason: expect.any(String) });
    expect((await pushOf())?.state).toBe('CLOSED');
    const isOpen = { state: 'down', error: expect.stringMatching(/circuit is (open|half_open)/) };
    expect(await readReady()).toMatchObject({ status: 503, body: { checks: { smtp: isOpen } } });
    const health = await herald.rest('GET', `${herald.urlOf('email')}/health`);
    expect(health).toMatchObject({
      status: 200,
      body: { providers: { smtp: { state: expect.stringMatching(/open/) } } },
    });

    const waiting = await givenMails(10, 'accept');
    await until(async () => {
      const { consumerCount, messageCount } = await readQueue();
      return consumerCount === 0 && messageCount >= waiting.ids.length / 2;
    }, PATIENT);
    // After a while one is tried, in vain; the others that the worker took meanwhile are never handed over.
    await until(async () => (await standing([...first.ids, ...waiting.ids])).some(hasTriedTwice), PATIENT);
    await smtp.start();
    await herald.drained({ timeoutMs: 25_000 });

    expectAccepted(first);
    expectAccepted(waiting);
    for (const { status, attempts, failures } of await standing(waiting.ids))
      expect({ status, attempts }).toEqual({ status: 'delivered', attempts: failures + 1 });
    const unsent = `SELECT count(*)::integer AS unsent FROM attempt WHERE class = 'not_sent' AND notification_id = ANY ($1)`;
    expect(await herald.sql('notification', unsent, [waiting.ids])).toEqual([{ unsent: 0 }]);
    await seen('CLOSED');
    expect((await readReady()).status).toBe(200);
    expect((await readQueue()).consumerCount).toBe(1);
  });

  test('by its configuration is paused at once, and tried again later', async () => {
    const refusal = '535 5.7.8 authentication failed';
    const refused = await givenMails(1, { toRecipient: refusal }, 'accept');
    const { id } = refused;
    await seen('PAUSED');
    expect(await readProvider()).toMatchObject({ reason: expect.stringContaining('authentication failed') });
    const readyNow = await readReady();
    expect(readyNow).toMatchObject({ status: 503, body: { checks: { smtp: { state: 'down' } } } });
    expect(await standing([id])).toEqual([{ status: 'pending', attempts: 1, failures: 0 }]);

    // The trial meets the same: still paused, and nothing else was handed over.
    const trial = await givenMails(1, { toRecipient: refusal }, 'accept');
    const others = await givenMails(4, 'accept');
    await until(async () => (await standing([trial.id]))[0]?.['attempts'] === 1, PATIENT);
    await seen('PAUSED');

    const due = [id, trial.id];
    await herald.sql('notification', 'UPDATE notification SET due_at = now() WHERE id = ANY ($1)', [due]);
    await herald.sql('notification', 'UPDATE outbox SET due_at = now() WHERE notification_id = ANY ($1)', [due]);
    await herald.drained({ timeoutMs: 20_000 });
    await seen('CLOSED');
    expect(await readProvider()).toMatchObject({ reason: null });
    for (const mails of [refused, trial, others]) expectAccepted(mails);
  });

  test('is not one that refuses messages and addresses, however many', async () => {
    const before = await until(readProvider);
    // An address that is dead is not tried again, so each is another.
    for (let left = 8; left > 0; left -= 1) await givenMails(1, { toRecipient: '550 5.1.1 no such user here' });
    await givenMails(8, { toMessage: '554 5.7.1 this is spam' });
    const last = await givenMails(1, 'accept');
    await herald.drained();
    expectAccepted(last);
    expect(await readProvider()).toEqual(before);
    const failed = `SELECT reason, count(*)::integer FROM notification WHERE status = 'failed' GROUP BY reason ORDER BY reason`;
    expect(await herald.sql('notification', failed)).toEqual([
      { reason: 'ADDRESS_DEAD', count: 8 },
      { reason: 'REJECTED', count: 8 },
    ]);
  });
});

const hasTriedTwice = ({ attempts }: Record<string, number>) => (attempts ?? 0) > 1;
