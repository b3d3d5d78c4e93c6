import { expect, test } from 'vitest';
import { toAsciiMailbox, toMailboxText, toMessageId } from '../../workers/email/mail-headers.ts';

test.each([
  ['müller@exämple.de', 'müller@xn--exmple-cua.de'],
  ['ada@EXAMPLE.com', 'ada@example.com'],
  ['ada@例え.テスト', 'ada@xn--r8jz45g.xn--zckzah'],
  ['herald@localhost', 'herald@localhost'],
  ['no domain', 'no domain'],
])('%s goes out as %s', (address, expected) => {
  expect(toAsciiMailbox({ name: 'Ünï', address })).toEqual({ name: 'Ünï', address: expected });
});

test.each([
  [{ name: '', address: 'ada@example.com' }, 'ada@example.com'],
  [{ name: 'Ada, Countess', address: 'ada@example.com' }, '"Ada, Countess" <ada@example.com>'],
  [{ name: 'Ada "the" \\ First', address: 'ada@example.com' }, '"Ada \\"the\\" \\\\ First" <ada@example.com>'],
])('the mailbox %o as text is %s', (mailbox, expected) => {
  expect(toMailboxText(mailbox)).toBe(expected);
});

test('a message id has the domain as DNS knows it', () => {
  expect(toMessageId('n1', { name: '', address: 'no-reply@exämple.de' })).toBe('<n1@xn--exmple-cua.de>');
});
