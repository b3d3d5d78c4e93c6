import { describe, expect, test } from 'vitest';
import {
  badStringIn,
  faultOfEmail,
  faultOfLine,
  faultOfLocale,
  faultOfText,
  isUuid,
  toStorable,
} from '../../platform/text.ts';

const HALF = '\ud800';

test.each<[string, string | null]>([
  ['Ada Lovelace', null],
  ['José 注文 👩‍🚀', null],
  ['ä'.repeat(10), null],
  ['', 'must not be empty'],
  [' \t ', 'must not be empty'],
  ['ä'.repeat(10) + 'x', 'must be at most 20 bytes'],
  ['a\nb', 'must not contain control characters'],
  ['a\tb', 'must not contain control characters'],
  ['a\0b', 'must not contain control characters'],
  ['a\u0085b', 'must not contain control characters'],
  [`a${HALF}`, 'must be valid Unicode'],
])('a line of at most 20 bytes: %j', (text, fault) => {
  expect(faultOfLine(text, { max: text.includes('👩') ? 40 : 20 })).toBe(fault);
});

test.each<[string, string | null]>([
  ['two\nlines\r\n\tand a tab', null],
  ['', 'must not be empty'],
  ['x'.repeat(41), 'must be at most 40 bytes'],
  ['a\0b', 'must not contain control characters'],
  ['a\u001bb', 'must not contain control characters'],
  [HALF, 'must be valid Unicode'],
])('a text of at most 40 bytes: %j', (text, fault) => {
  expect(faultOfText(text, { max: 40 })).toBe(fault);
});

describe('an e-mail address', () => {
  test.each([
    'ada@example.com',
    'a@b',
    'ada+tag@sub.example.co.uk',
    "o'hara@example.com",
    'ä@münchen.example',
    'a@xn--mnchen-3ya.example',
    'ada@EXAMPLE.com',
  ])('%s', (text) => {
    expect(faultOfEmail(text)).toBeNull();
  });

  test.each([
    '',
    'ada',
    '@example.com',
    'ada@',
    'a@b@c',
    'ada@exa mple.com',
    'ada @example.com',
    'ada@example.com\r\nBcc: eve@example.com',
    'ada,eve@example.com',
    'Ada <ada@example.com>',
    'ada@-example.com',
    'ada@example..com',
    'ada@.com',
    'ada@[127.0.0.1]',
    'ada@example.com:25',
    'ada@example.com/x',
    `ada${HALF}@example.com`,
    `${'a'.repeat(65)}@example.com`,
    `a@${'a'.repeat(64)}.com`,
    `${'a'.repeat(60)}@${'a.'.repeat(110)}com`,
  ])('not %j', (text) => {
    expect(faultOfEmail(text)).toBe('must be an e-mail address such as ada@example.com');
  });
});

test.each(['en', 'de-AT', 'zh-Hant-TW', 'EN'])('%s is a locale', (text) => {
  expect(faultOfLocale(text)).toBeNull();
});

test.each(['', 'e', 'no locale', 'de_AT', '?'])('%j is no locale', (text) => {
  expect(faultOfLocale(text)).toBe('must be a language tag (BCP 47) such as en or de-AT');
});

test.each<[unknown, string | null]>([
  [{ a: ['x', { b: 'y' }], c: null, d: 1, e: true }, null],
  ['text', null],
  [null, null],
  [HALF, 'v'],
  ['a\0', 'v'],
  [{ a: HALF }, 'v.a'],
  [{ a: [{ b: '\udfff' }] }, 'v.a.0.b'],
  [{ a: { [HALF]: 1 } }, 'v.a'],
  [{ 'a\0': 1 }, 'v'],
  [{ fine: 'x', bad: 'a\0' }, 'v.bad'],
])('the first bad string in %j is at %s', (value, path) => {
  expect(badStringIn(value, 'v')).toBe(path);
});

test.each<[string, boolean]>([
  ['01a20a75-3841-765a-b5e0-510a2af53160', true],
  ['01A20A75-3841-765A-B5E0-510A2AF53160', true],
  ['01a20a753841765ab5e0510a2af53160', false],
  ['01a20a75-3841-765a-b5e0-510a2af5316', false],
  ['g1a20a75-3841-765a-b5e0-510a2af53160', false],
  ['{01a20a75-3841-765a-b5e0-510a2af53160}', false],
  [' 01a20a75-3841-765a-b5e0-510a2af53160', false],
  ['01a20a75-3841-765a-b5e0-510a2af53160\n', false],
  ['', false],
])('%j is a UUID: %s', (text, expected) => {
  expect(isUuid(text)).toBe(expected);
});

test.each([
  ['250 OK', '250 OK'],
  ['a\0b\0', 'a\ufffdb\ufffd'],
  [`a${HALF}b👍`, 'a\ufffdb👍'],
  ['line\nbreak', 'line\nbreak'],
])('%j is kept as %j', (text, expected) => {
  expect(toStorable(text)).toBe(expected);
});
