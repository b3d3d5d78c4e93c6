import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { begin, claim, expireLease } from './as-worker.ts';
import { givenSent, givenTemplate, givenUser, readNotification } from './given.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';

const EMAIL_STATUS = '/api/v1/email/status/';

/** Reports of clients, and the shape of every report; those of workers are in worker-report.test.ts. */

let herald: Herald;
let user: string;
let template: string;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template', 'notification', 'gateway'] });
  user = await givenUser(herald);
  template = await givenTemplate(herald);
});
afterAll(() => herald?.stop());

const report = (notification_id: string, status: string) =>
  herald.rest('POST', EMAIL_STATUS, { notification_id, status });

const given = {
  pending: () => givenSent(herald, user, template),
  async leased() {
    const id = await givenSent(herald, user, template);
    await claim(herald, id);
    return id;
  },
  async 'in an attempt'() {
    const id = await givenSent(herald, user, template);
    await begin(herald, id);
    return id;
  },
  async 'out of its lease'() {
    const id = await this.leased();
    await expireLease(herald, id);
    return id;
  },
  async delivered() {
    const id = await givenSent(herald, user, template);
    await report(id, 'delivered');
    return id;
  },
  async failed() {
    const id = await givenSent(herald, user, template);
    await report(id, 'failed');
    return id;
  },
};

describe("a client's report", () => {
  test.each<[keyof typeof given, string, number, string]>([
    ['pending', 'delivered', 200, 'delivered'],
    ['pending', 'failed', 200, 'failed'],
    ['pending', 'pending', 200, 'pending'],
    ['out of its lease', 'delivered', 200, 'delivered'],
    ['out of its lease', 'failed', 200, 'failed'],
    ['leased', 'delivered', 409, 'pending'],
    ['leased', 'failed', 409, 'pending'],
    ['leased', 'pending', 200, 'pending'],
    ['in an attempt', 'delivered', 409, 'pending'],
    ['delivered', 'delivered', 200, 'delivered'],
    ['delivered', 'failed', 409, 'delivered'],
    ['delivered', 'pending', 409, 'delivered'],
    ['failed', 'failed', 200, 'failed'],
    ['failed', 'delivered', 409, 'failed'],
    ['failed', 'pending', 409, 'failed'],
  ])('on one that is %s: %s is answered %i and leaves it %s', async (state, status, code, after) => {
    const id = await given[state]();
    const answer = await report(id, status);
    if (code === 200) expect(answer).toMatchObject({ status: 200, body: { notification_id: id, status: after } });
    else expectProblem(answer, code);
    expect((await readNotification(herald, id)).status).toBe(after);
  });

  test('that it failed ends it as REJECTED', async () => {
    expect(await readNotification(herald, await given.failed())).toMatchObject({
      status: 'failed',
      reason: 'REJECTED',
    });
  });

  test('repeated, is one event in the timeline', async () => {
    const id = await given.delivered();
    await report(id, 'delivered');
    const { timeline } = await readNotification(herald, id);
    expect(timeline.filter((event: string) => event === 'DELIVERED')).toHaveLength(1);
  });

  test('takes a timestamp and an error as data', async () => {
    const id = await given.pending();
    const body = { notification_id: id, status: 'failed', timestamp: '2001-01-01T00:00:00+02:00', error: 'full' };
    expect((await herald.rest('POST', EMAIL_STATUS, body)).status).toBe(200);
    expect((await readNotification(herald, id)).status).toBe('failed');
    const kept = `SELECT detail->>'error' AS error FROM timeline WHERE notification_id = $1 AND event = 'FAILED'`;
    expect(await herald.sql('notification', kept, [id])).toEqual([{ error: 'full' }]);
  });
});

describe('a report on nothing', () => {
  test.each([
    ['an unknown id', EMAIL_STATUS, async () => randomUUID()],
    ['an id that is no UUID', EMAIL_STATUS, async () => 'ada'],
    ['the id of another type', '/api/v1/push/status/', given.pending],
  ])('%s is 404', async (_, path, givenId) => {
    const notification_id = await givenId();
    expectProblem(await herald.rest('POST', path, { notification_id, status: 'delivered' }), 404, ['notification_id']);
  });

  test('an unknown type is 404', async () => {
    const body = { notification_id: await given.pending(), status: 'delivered' };
    expectProblem(await herald.rest('POST', '/api/v1/sms/status/', body), 404);
    expect((await readNotification(herald, body.notification_id)).status).toBe('pending');
  });
});

describe('a faulty report', () => {
  test.each<[string, object, string]>([
    ['without an id', { status: 'delivered' }, 'notification_id'],
    ['without a status', { notification_id: randomUUID() }, 'status'],
    ['with a status there is not', { notification_id: randomUUID(), status: 'bounced' }, 'status'],
    [
      'with a timestamp that is none',
      { notification_id: randomUUID(), status: 'failed', timestamp: 'now' },
      'timestamp',
    ],
    ['with an unknown field', { notification_id: randomUUID(), status: 'failed', colour: 'red' }, 'colour'],
    [
      'with a token of 0',
      { notification_id: randomUUID(), status: 'failed', attempt: { token: 0, class: 'permanent' } },
      'attempt.token',
    ],
    [
      'with a token that no database could have given',
      { notification_id: randomUUID(), status: 'failed', attempt: { token: 2 ** 31, class: 'permanent' } },
      'attempt.token',
    ],
    [
      'with a class there is not',
      { notification_id: randomUUID(), status: 'failed', attempt: { token: 1, class: 'soft' } },
      'attempt.class',
    ],
  ])('%s is 400', async (_, body, field) => {
    expectProblem(await herald.rest('POST', EMAIL_STATUS, body), 400, [field]);
  });

  test('in a list makes the list 400, and nothing of it counts', async () => {
    const id = await given.pending();
    const list = [
      { notification_id: id, status: 'delivered' },
      { notification_id: id, status: 'bounced' },
    ];
    expectProblem(await herald.rest('POST', EMAIL_STATUS, list), 400, ['1.status']);
    expect((await readNotification(herald, id)).status).toBe('pending');
  });
});

describe('a list of reports', () => {
  test('is answered 200 with a code for each, in its order', async () => {
    const ids = {
      fresh: await given.pending(),
      leased: await given.leased(),
      failed: await given.failed(),
      unknown: randomUUID(),
    };
    const list = [ids.leased, ids.unknown, ids.fresh, ids.failed, ids.fresh, 'ada'].map((notification_id) => ({
      notification_id,
      status: 'delivered',
    }));
    const answer = await herald.rest('POST', EMAIL_STATUS, list);
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject([
      { notification_id: ids.leased, code: 409, status: 'pending' },
      { notification_id: ids.unknown, code: 404 },
      { notification_id: ids.fresh, code: 200, status: 'delivered' },
      { notification_id: ids.failed, code: 409, status: 'failed' },
      { notification_id: ids.fresh, code: 200, status: 'delivered' },
      { notification_id: 'ada', code: 404 },
    ]);
  });

  const listOf = (length: number, error = 'x') =>
    Array.from({ length }, () => ({ notification_id: randomUUID(), status: 'delivered', error }));

  test('may have 100, and neither 101 nor none', async () => {
    const hundred = await herald.rest('POST', EMAIL_STATUS, listOf(100));
    expect(hundred.status).toBe(200);
    expect(hundred.body).toHaveLength(100);
    expectProblem(await herald.rest('POST', EMAIL_STATUS, listOf(101)), 400, ['']);
    expectProblem(await herald.rest('POST', EMAIL_STATUS, []), 400, ['']);
  });

  test('may have 64 KiB, and no more', async () => {
    expect((await herald.rest('POST', EMAIL_STATUS, listOf(60, 'x'.repeat(900)))).status).toBe(200);
    expectProblem(await herald.rest('POST', EMAIL_STATUS, listOf(70, 'x'.repeat(900))), 413);
  });
});
