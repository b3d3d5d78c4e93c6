import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SendNotificationDocument } from '../client/generated/operations.ts';
import { givenTemplate, givenUser, mailsOf, sendBody } from './given.ts';
import { brokerKinds, startHerald, type Herald } from './start.ts';

const SEND = '/api/v1/notifications/';

describe.each(brokerKinds)('repeating a request_id over %s', (broker) => {
  let herald: Herald;
  beforeAll(async () => {
    herald = await startHerald({ broker });
  });
  afterAll(() => herald?.stop());

  const countOf = async (requestId: string) =>
    (
      await herald.sql('notification', 'SELECT count(*)::integer FROM notification WHERE request_id = $1', [requestId])
    )[0]?.['count'];

  test('the same request_id twenty times at once is one notification and one mail', async () => {
    const body = sendBody(await givenUser(herald), await givenTemplate(herald));
    // The first request to a fresh gateway is slow; the others must not queue up behind it.
    await herald.rest('POST', SEND, { ...body, request_id: 'first' });
    const answers = await Promise.all(Array.from({ length: 20 }, () => herald.rest('POST', SEND, body)));
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(202));
    const ids = new Set(answers.map((answer) => answer.body.notification_id));
    expect(ids.size).toBe(1);
    expect(answers.filter((answer) => answer.body.duplicate === false)).toHaveLength(1);
    expect(await countOf(body.request_id)).toBe(1);
    await herald.drained();
    expect(await mailsOf(herald, [...ids][0])).toHaveLength(1);
  });

  test('the same request_id twenty times in one list is one notification too', async () => {
    const body = sendBody(await givenUser(herald), await givenTemplate(herald));
    const { status, body: answers } = await herald.rest('POST', SEND, Array(20).fill(body));
    expect(status).toBe(202);
    expect(answers).toHaveLength(20);
    expect(new Set(answers.map((answer: { notification_id: string }) => answer.notification_id)).size).toBe(1);
    expect(answers.filter((answer: { duplicate: boolean }) => !answer.duplicate)).toHaveLength(1);
    expect(await countOf(body.request_id)).toBe(1);
    await herald.drained();
  });

  test('the same content and request_id over GraphQL after REST is a duplicate, however it is spelled', async () => {
    const user = await givenUser(herald);
    const template = await givenTemplate(herald);
    const sendAt = new Date().toISOString();
    const body = sendBody(user, template, {
      variables: { name: 'Ada', link: 'x' },
      priority: 7,
      on_ambiguous: 'fail',
      send_at: sendAt,
    });
    const first = await herald.rest('POST', SEND, body);
    const { sendNotification } = await herald.graphql(SendNotificationDocument, {
      input: {
        onAmbiguous: 'FAIL',
        priority: 7,
        requestId: body.request_id,
        variables: { link: 'x', name: 'Ada' },
        sendAt: sendAt.replace('Z', '+00:00'),
        templateCode: template,
        userId: user,
        notificationType: 'EMAIL',
        metadata: null,
      },
    });
    expect(sendNotification).toMatchObject({ duplicate: true, notification: { id: first.body.notification_id } });
    expect(await countOf(body.request_id)).toBe(1);
    await herald.drained();
  });

  test('the same request_id with other content is a conflict that names it, and changes nothing', async () => {
    const body = sendBody(await givenUser(herald), await givenTemplate(herald));
    await herald.rest('POST', SEND, body);
    const other = await herald.rest('POST', SEND, { ...body, priority: 6 });
    expect(other.status).toBe(409);
    expect(other.body.errors).toMatchObject([{ field: 'request_id', code: 'REQUEST_ID_REUSED' }]);
    expect(await countOf(body.request_id)).toBe(1);
    await herald.drained();
  });

  test('the Idempotency-Key header stands for request_id; both must agree', async () => {
    const { request_id, ...body } = sendBody(await givenUser(herald), await givenTemplate(herald));
    const send = (fields: object, key: string) =>
      herald.rest('POST', SEND, { ...body, ...fields }, { 'idempotency-key': key });
    expect(await send({}, request_id)).toMatchObject({ status: 202, body: { request_id, duplicate: false } });
    expect(await send({ request_id }, request_id)).toMatchObject({
      status: 202,
      body: { request_id, duplicate: true },
    });
    expect(await send({ request_id }, 'another')).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'request_id', code: 'INVALID' }] },
    });
    await herald.drained();
  });
});
