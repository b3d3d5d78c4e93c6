import { expect, test } from 'vitest';
import { toCamelKeys, toSnakeKeys, toSnakePath } from '../../platform/rest/spelling.ts';

test.each<[object, object]>([
  [
    { user_id: 1, push_token: null },
    { userId: 1, pushToken: null },
  ],
  [{ a_list: [{ an_item: 1 }, [{ deep_item: 2 }]] }, { aList: [{ anItem: 1 }, [{ deepItem: 2 }]] }],
  [
    { variables: { first_name: 'x' }, send_at: 'y' },
    { variables: { first_name: 'x' }, sendAt: 'y' },
  ],
  [{ metadata: { a_b: { c_d: 1 } } }, { metadata: { a_b: { c_d: 1 } } }],
  [{ push: { data: { order_id: 1 } } }, { push: { data: { order_id: 1 } } }],
  [{ line_2: 1 }, { line2: 1 }],
])('%j becomes %j', (snake, camel) => {
  expect(toCamelKeys(snake)).toEqual(camel);
});

test.each<[unknown, unknown]>([
  [
    { userId: 1, pushToken: null },
    { user_id: 1, push_token: null },
  ],
  [{ aList: [{ anItem: 1 }] }, { a_list: [{ an_item: 1 }] }],
  [
    { variables: { firstName: 'x' }, sendAt: 'y' },
    { variables: { firstName: 'x' }, send_at: 'y' },
  ],
  [{ timeline: [{ detail: { dueAt: 1 } }] }, { timeline: [{ detail: { dueAt: 1 } }] }],
  ['aText', 'aText'],
  [null, null],
  [
    [1, 'aB'],
    [1, 'aB'],
  ],
])('%j is answered as %j', (camel, snake) => {
  expect(toSnakeKeys(camel)).toEqual(snake);
});

test('a date stays one', () => {
  const createdAt = new Date();
  expect(toSnakeKeys({ createdAt })).toEqual({ created_at: createdAt });
});

test.each([
  ['templateCode', 'template_code'],
  ['attempt.retryAfterSeconds', 'attempt.retry_after_seconds'],
  ['reports.0.notificationId', 'reports.0.notification_id'],
  ['variables.firstName', 'variables.firstName'],
  ['metadata.lineItems.0.userName', 'metadata.lineItems.0.userName'],
  ['push.data.orderId', 'push.data.orderId'],
  ['contents.de-AT.push.ttlSeconds', 'contents.de-AT.push.ttl_seconds'],
  ['', ''],
])('the path %s is spelled %s', (camel, snake) => {
  expect(toSnakePath(camel)).toBe(snake);
});
