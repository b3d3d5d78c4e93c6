import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { OutcomeClass } from '../contracts/report.ts';
import { begin, claim, expireLease, giveBack, startAttempt } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { startHerald, type Herald } from './start.ts';

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({
    parts: ['user', 'template', 'notification', 'gateway'],
    retry: { baseSeconds: 1_000, capSeconds: 1_000 },
  });
  user = await givenUser(herald);
  template = await givenTemplate(herald);
});
afterAll(() => herald?.stop());

const givenPending = (fields: object = {}) => givenSent(herald, user, template, fields);

/** Reports as a worker does, and gives back the one item's answer. */
async function report(id: string, token: number, outcome: OutcomeClass, more: object = {}) {
  const status =
    outcome === 'accepted' ? 'delivered' : ['permanent', 'address_dead'].includes(outcome) ? 'failed' : 'pending';
  const body = [{ notification_id: id, status, attempt: { token, class: outcome, ...more } }];
  const answer = await herald.rest('POST', '/api/v1/email/status/', body, {
    authorization: `Bearer ${herald.workerApiKey}`,
  });
  expect(answer.status).toBe(200);
  return answer.body[0];
}

/** Without QUEUED: the relay works beside, in its own time. */
async function read(id: string) {
  const { timeline, ...rest } = await readNotification(herald, id);
  return { ...rest, timeline: timeline.filter((event: string) => event !== 'QUEUED') };
}

const readAttempts = (id: string) =>
  herald.sql(
    'notification',
    `SELECT token, class, finished_at IS NOT NULL AS finished, applied_at IS NOT NULL AS applied
     FROM attempt WHERE notification_id = $1 ORDER BY number`,
    [id],
  );

/** @returns the id, with token 1 in an attempt that lost its lease, and token 2 in one of its own */
async function givenTwoClaims(): Promise<string> {
  const id = await givenPending();
  await begin(herald, id);
  await giveBack(herald, id);
  expect(await begin(herald, id)).toBe(2);
  return id;
}

describe('with the token that holds', () => {
  test.each<[OutcomeClass, string, string | null]>([
    ['accepted', 'delivered', null],
    ['permanent', 'failed', 'REJECTED'],
    ['address_dead', 'failed', 'ADDRESS_DEAD'],
    ['transient', 'pending', null],
    ['configuration', 'pending', null],
    ['unknown', 'pending', null],
    ['not_sent', 'pending', null],
  ])('%s makes it %s; repeated, it is known and changes nothing', async (outcome, status, reason) => {
    const id = await givenPending();
    const token = await begin(herald, id);
    expect(await report(id, token, outcome)).toMatchObject({ notification_id: id, code: 200, status });
    const after = await read(id);
    expect(after).toMatchObject({ status, reason, attempts: 1 });
    expect(await readAttempts(id)).toEqual([{ token, class: outcome, finished: true, applied: true }]);

    expect(await report(id, token, outcome)).toMatchObject({ code: 200, status });
    expect(await read(id)).toEqual(after);
  });

  test("a lease that ran out is nobody else's to claim: the sweeper looks at it first", async () => {
    const id = await givenPending();
    await begin(herald, id);
    await expireLease(herald, id);
    expect(await claim(herald, id)).toBeUndefined();
  });

  test('applies although the lease ran out, while nobody else claimed', async () => {
    const id = await givenPending();
    const token = await begin(herald, id);
    await expireLease(herald, id);
    expect(await report(id, token, 'accepted')).toMatchObject({ code: 200, status: 'delivered' });
  });

  test('unknown ends it when the send asked for at most once', async () => {
    const id = await givenPending({ on_ambiguous: 'fail' });
    expect(await report(id, await begin(herald, id), 'unknown')).toMatchObject({ code: 200, status: 'failed' });
    expect((await read(id)).reason).toBe('OUTCOME_UNKNOWN');
  });

  test('transient is due again not before the provider said', async () => {
    const id = await givenPending();
    await report(id, await begin(herald, id), 'transient', { retry_after_seconds: 5_000 });
    const inTime = `SELECT due_at > now() + interval '4990 seconds' AS later FROM notification WHERE id = $1`;
    expect(await herald.sql('notification', inTime, [id])).toEqual([{ later: true }]);
    expect(await claim(herald, id)).toBeUndefined();
  });

  test('a next try after the deadline would be for nothing: it ends as EXPIRED', async () => {
    const id = await givenPending({ expires_at: new Date(Date.now() + 60_000).toISOString() });
    await report(id, await begin(herald, id), 'transient', { retry_after_seconds: 100 });
    expect(await read(id)).toMatchObject({ status: 'failed', reason: 'EXPIRED' });
  });

  test('without a further try before the deadline, unknown does not claim that it expired unsent', async () => {
    const id = await givenPending({ expires_at: new Date(Date.now() + 60_000).toISOString() });
    await report(id, await begin(herald, id), 'unknown', { retry_after_seconds: 100 });
    expect(await read(id)).toMatchObject({ status: 'failed', reason: 'OUTCOME_UNKNOWN' });
  });

  test('an unknown attempt is remembered until the run ends, and not beyond', async () => {
    const id = await givenPending({ expires_at: new Date(Date.now() + 3_600_000).toISOString() });
    await report(id, await begin(herald, id), 'unknown');
    await giveBack(herald, id);
    await report(id, await begin(herald, id), 'transient', { retry_after_seconds: 4_000 });
    expect(await read(id)).toMatchObject({ status: 'failed', reason: 'OUTCOME_UNKNOWN' });
    await herald.rest('POST', `/api/v1/notifications/${id}/replay/`, {});
    await report(id, await begin(herald, id), 'transient', { retry_after_seconds: 4_000 });
    expect(await read(id)).toMatchObject({ status: 'failed', reason: 'EXPIRED' });
  });

  test('a failure without an attempt keeps its reason, and is no dead letter when it is as wanted', async () => {
    const id = await givenPending();
    const token = await claim(herald, id);
    await report(id, token ?? 0, 'permanent', { reason: 'PREFERENCE_DISABLED' });
    expect(await read(id)).toMatchObject({ reason: 'PREFERENCE_DISABLED', attempts: 0 });
    const letters = `SELECT 1 FROM outbox WHERE notification_id = $1 AND key = 'failed'`;
    expect(await herald.sql('notification', letters, [id])).toEqual([]);
  });

  test('a claim given back without an attempt is due soon, and the repeat changes nothing', async () => {
    const id = await givenPending();
    const token = (await claim(herald, id)) ?? 0;
    expect(await report(id, token, 'not_sent')).toMatchObject({ code: 200, status: 'pending' });
    const after = await read(id);
    expect(after.timeline.at(-1)).toBe('RETRY_SCHEDULED');
    expect(await report(id, token, 'not_sent')).toMatchObject({ code: 200, status: 'pending' });
    expect(await read(id)).toEqual(after);
  });
});

describe('with an older token', () => {
  test('accepted is taken while it is pending, and voids the newer lease', async () => {
    const id = await givenPending();
    await begin(herald, id);
    await giveBack(herald, id);
    expect(await claim(herald, id)).toBe(2);
    expect(await report(id, 1, 'accepted')).toMatchObject({ code: 200, status: 'delivered' });
    expect(await startAttempt(herald, id, 2)).toBeUndefined();
    expect((await read(id)).status).toBe('delivered');
    expect(await readAttempts(id)).toEqual([{ token: 1, class: 'accepted', finished: true, applied: true }]);
  });

  test('accepted is taken although it was recorded that nobody knew', async () => {
    const id = await givenPending();
    await report(id, await begin(herald, id), 'unknown');
    await giveBack(herald, id);
    expect(await claim(herald, id)).toBe(2);
    expect(await report(id, 1, 'accepted')).toMatchObject({ code: 200, status: 'delivered' });
    expect(await readAttempts(id)).toEqual([{ token: 1, class: 'accepted', finished: true, applied: true }]);
  });

  test.each<OutcomeClass>(['transient', 'permanent', 'address_dead', 'configuration', 'unknown', 'not_sent'])(
    '%s is refused, kept on its attempt, and leaves the newer lease alone',
    async (outcome) => {
      const id = await givenTwoClaims();
      expect(await report(id, 1, outcome)).toMatchObject({ code: 409, status: 'pending' });
      expect(await readAttempts(id)).toEqual([
        { token: 1, class: outcome, finished: true, applied: false },
        { token: 2, class: null, finished: false, applied: false },
      ]);
      expect(await claim(herald, id)).toBeUndefined();
      expect(await report(id, 2, 'accepted')).toMatchObject({ code: 200, status: 'delivered' });
    },
  );

  test('a token that nobody was given is refused', async () => {
    const id = await givenPending();
    await begin(herald, id);
    expect(await report(id, 99, 'accepted')).toMatchObject({ code: 409, status: 'pending' });
    expect((await read(id)).status).toBe('pending');
  });
});

describe('after the end', () => {
  test.each<OutcomeClass>([
    'transient',
    'permanent',
    'address_dead',
    'configuration',
    'unknown',
    'not_sent',
    'accepted',
  ])('%s of another attempt takes nothing back from delivered, and is kept', async (outcome) => {
    const id = await givenTwoClaims();
    await report(id, 1, 'accepted');
    const after = await read(id);
    expect(await report(id, 2, outcome)).toMatchObject({ code: 409, status: 'delivered' });
    expect(await read(id)).toEqual(after);
    expect((await readAttempts(id))[1]).toEqual({ token: 2, class: outcome, finished: true, applied: false });
  });

  test('another word on the same attempt is refused, and the first one stays', async () => {
    const id = await givenPending();
    const token = await begin(herald, id);
    await report(id, token, 'permanent');
    expect(await report(id, token, 'accepted')).toMatchObject({ code: 409, status: 'failed' });
    expect(await readAttempts(id)).toEqual([{ token, class: 'permanent', finished: true, applied: true }]);
  });
});

describe('whatever a provider said', () => {
  /** Reports on one, in a list with another that was delivered; both must be taken. @returns the id of the first */
  const reportBesidePlain = async (status: string, attempt: object): Promise<string> => {
    const [odd, plain] = [await givenPending(), await givenPending()];
    const list = [
      { notification_id: odd, status, attempt: { token: await begin(herald, odd), ...attempt } },
      {
        notification_id: plain,
        status: 'delivered',
        attempt: { token: await begin(herald, plain), class: 'accepted' },
      },
    ];
    const key = { authorization: `Bearer ${herald.workerApiKey}` };
    const answer = await herald.rest('POST', '/api/v1/email/status/', list, key);
    expect(answer).toMatchObject({ status: 200, body: [{ code: 200 }, { code: 200 }] });
    expect((await read(plain)).status).toBe('delivered');
    return odd;
  };

  test.each([
    ['NUL', 'a\0b'],
    ['half a character', 'a\ud800'],
    ['10,000 characters', 'ä'.repeat(10_000)],
  ])('with %s in it, is taken, and takes no other report of its list along', async (_, reason) => {
    const odd = await reportBesidePlain('failed', { class: 'permanent', reason });
    expect((await read(odd)).status).toBe('failed');
    const kept = 'SELECT length(reason)::integer AS length FROM attempt WHERE notification_id = $1';
    expect(await herald.sql('notification', kept, [odd])).toEqual([{ length: Math.min(reason.length, 2_000) }]);
  });

  test('a provider puts off the next try for a day at most, whatever number it names', async () => {
    const endless = await reportBesidePlain('pending', { class: 'transient', retry_after_seconds: 1e12 });
    const due = `SELECT round(extract(epoch FROM due_at - updated_at))::integer AS seconds FROM notification WHERE id = $1`;
    expect(await herald.sql('notification', due, [endless])).toEqual([{ seconds: 86_400 }]);
  });
});

test("a worker's role claims, starts and keeps, and can do nothing else", async () => {
  for (const statement of [
    'SELECT * FROM notification',
    'SELECT * FROM content',
    `UPDATE notification SET status = 'delivered'`,
    'DELETE FROM outbox',
    'SELECT ensure_partitions()',
    'SELECT drop_old_months(0)',
    'CREATE TABLE mine ()',
  ]) {
    await expect(herald.sql('worker', statement), statement).rejects.toThrow(/permission denied/);
  }
});
