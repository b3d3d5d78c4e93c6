import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { givenTemplate, givenUser, readNotification, sendBody } from './given.ts';
import { startHerald, type Herald } from './start.ts';
import { createTestLogger, logged } from './test-log.ts';
import { until } from './until.ts';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald();
});
afterAll(() => herald?.stop());

test.each([
  ['both ids', (id: string) => ({ 'x-correlation-id': id, 'x-request-id': randomUUID() })],
  ['a correlation id', (id: string) => ({ 'x-correlation-id': id })],
  ['a request id', (id: string) => ({ 'x-request-id': id })],
])(
  'with %s, a search for what the answer calls correlation id finds the whole life of a notification, and for its own id too',
  async (_, toHeaders) => {
    const correlationId = `order-${randomUUID()}`;
    const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
    const body = sendBody(user, template);
    const sent = await herald.rest('POST', '/api/v1/notifications/', body, toHeaders(correlationId));
    expect(sent.headers['x-correlation-id']).toBe(correlationId);
    const id = String(sent.body.notification_id);
    await until(async () => (await readNotification(herald, id)).status === 'delivered');
    const stepsOf = (text: string) =>
      logged()
        .filter((line) => JSON.stringify(line).includes(text))
        .map(({ service, msg }) => `${String(service)}: ${String(msg)}`);
    const life = [
      'notification: notification accepted',
      'notification: job published',
      'email-worker: notification handled',
      'notification: notification delivered',
    ];
    await until(() => life.every((step) => stepsOf(correlationId).includes(step))).catch(() => {});
    expect(stepsOf(correlationId)).toEqual(expect.arrayContaining(life));
    expect(stepsOf(id)).toEqual(expect.arrayContaining(life));
    // Whoever knows the id of the send only finds the other two by it.
    const statuses = logged().filter(({ requestId }) => requestId === body.request_id);
    expect(statuses.map(({ notificationId, correlationId: found, msg }) => [notificationId, found, msg])).toEqual(
      ['notification accepted', 'notification delivered'].map((msg) => [id, correlationId, msg]),
    );
  },
);

test('nobody is named in it, though their mail server and their database do', async () => {
  const template = await givenTemplate(herald);
  const address = `lovelace-${randomUUID()}@example.com`;
  const user = await givenUser(herald, { name: 'Countess of Lovelace', email: address });
  const sent = await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template));
  await until(async () => (await readNotification(herald, sent.body.notification_id)).status === 'delivered');
  const log = createTestLogger('story');
  log.warn(
    { reason: `550 5.1.1 <${address}>: no such user`, err: new Error(`Key (email)=(${address}) exists`) },
    address,
  );
  log.error({ err: new Error('connect postgresql://herald:the-password@db.example.com:5432 failed') }, 'away');
  const text = JSON.stringify(logged());
  expect(text).toContain('550 5.1.1 <[address]>: no such user');
  for (const personal of [address, 'Countess', 'the-password']) expect(text).not.toContain(personal);
});
