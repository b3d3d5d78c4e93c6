import { expect, test } from 'vitest';
import { createLogger } from '../../platform/logger.ts';
import { faultOfEmail } from '../../platform/text.ts';

/** What a line says of a text, parsed, so that it must be JSON. */
function logOf(text: string): string {
  let line = '';
  createLogger('test', 'info', { write: (written) => void (line = written) }).info({ text }, 'said');
  return (JSON.parse(line) as { text: string }).text;
}

test.each([
  'ada@example.com',
  'jürgen@exämple.de',
  '用户@例子.广告',
  '👩‍🚀@example.com',
  "o'hara+x/y=z@sub.example.co.uk",
  '|a{b}`c^d~!#$%&*?@example.com',
  'root@localhost',
  `${'x'.repeat(64)}@${'long.'.repeat(35)}example.com`,
])('the address %s, which Herald takes, is in no line', (address) => {
  expect(faultOfEmail(address)).toBeNull();
  expect(logOf(address)).toBe('[address]');
  expect(logOf(`550 5.1.1 <${address}>: no such user`)).toBe('550 5.1.1 <[address]>: no such user');
  expect(logOf(`Key (email)=(${address}) exists, mailto:${address}`)).toBe(
    'Key (email)=([address]) exists, mailto:[address]',
  );
  expect(logOf(`to\n${address}\t"${address}" \u001b${address}\\${address}`)).toBe(
    'to\n[address]\t"[address]" \u001b[address]\\[address]',
  );
});

test.each([
  ['redis://:hunter2@redis:6379', 'redis://[redacted]@redis:6379'],
  ['amqp://herald:hunter2@rabbitmq:5672', 'amqp://[redacted]@rabbitmq:5672'],
  [
    'postgresql://herald:hunter2:(x),@y@db.example.com:5432/users_db',
    'postgresql://[redacted]@db.example.com:5432/users_db',
  ],
])('what stands before the @ of %s is in no line', (url, shown) => {
  expect(logOf(`connect "${url}" failed`)).toBe(`connect "${shown}" failed`);
});

test('what is no address stays', () => {
  for (const text of [
    'at file:///herald/node_modules/@apollo/gateway/dist/index.js:1:2',
    'type User @key(fields: "id")',
    'http://127.0.0.1:8000/graphql?a=b',
    '@ and @@',
  ])
    expect(logOf(text)).toBe(text);
});

test.each([
  ['letters', 'a'.repeat(1_000_000) + '@'],
  ['letters before every @', 'a@'.repeat(500_000)],
  ['@ alone', '@'.repeat(1_000_000)],
  ['backslashes', '\\'.repeat(500_000) + '@example.com'],
  ['URLs', '://a'.repeat(250_000) + '@'],
  ['addresses', 'ada.lovelace@example.com '.repeat(40_000)],
])('a line of 1 MB of %s takes no longer than its length asks for', (_, text) => {
  const since = performance.now();
  logOf(text);
  expect(performance.now() - since).toBeLessThan(1_000);
});
