import { expect, test } from 'vitest';
import { parseJson } from '../../platform/parse-json.ts';
import { isRefusal } from '../../platform/refusal.ts';

const parse = (text: string | Buffer, headers: Record<string, string> = {}) => {
  const parsed = parseJson({ 'content-type': 'application/json', ...headers }, Buffer.from(text));
  return isRefusal(parsed) ? parsed : parsed.json;
};

test.each([
  ['{"a":1}', { a: 1 }],
  ['[]', []],
  [' "x" ', 'x'],
  ['{"a":{"a":1},"b":[{"a":1},{"a":2}]}', { a: { a: 1 }, b: [{ a: 1 }, { a: 2 }] }],
  ['{"a":"{\\"b\\":1,\\"b\\":2}","b":"\\\\","c":":"}', { a: '{"b":1,"b":2}', b: '\\', c: ':' }],
  ['', undefined],
])('%j is read', (text, expected) => expect(parse(text)).toEqual(expected));

test.each([
  ['{"a":1,"a":2}', 'a'],
  ['{"a":1,"\\u0061":2}', 'a'],
  ['{"a":{"b":1,"c":2,"b":3}}', 'a.b'],
  ['[{"a":1},{"x":[0,{"a":1,"a":1}]}]', '1.x.1.a'],
  ['{"a":[1,2],"b":"x","a":3}', 'a'],
])('%j names something twice', (text, field) => {
  expect(parse(text)).toMatchObject({ code: 'BAD_USER_INPUT', faults: [{ field, code: 'DUPLICATE' }] });
});

test('what would be a prototype is no name', () => {
  expect(parse('{"a":{"__proto__":{}}}')).toMatchObject({ faults: [{ field: 'a.__proto__', code: 'INVALID' }] });
});

test.each<[string | Buffer, Record<string, string>, string, RegExp]>([
  ['{"a":', {}, 'BAD_USER_INPUT', /JSON/],
  ['{"a":NaN}', {}, 'BAD_USER_INPUT', /JSON/],
  [Buffer.from([0x22, 0xff, 0x22]), {}, 'BAD_USER_INPUT', /UTF-8/],
  ['{}', { 'content-type': 'application/json; charset=iso-8859-1' }, 'UNSUPPORTED_MEDIA_TYPE', /iso-8859-1/],
  ['{}', { 'content-encoding': 'gzip' }, 'UNSUPPORTED_MEDIA_TYPE', /gzip/],
])('%j with %j is refused', (text, headers, code, message) => {
  expect(parse(text, headers)).toMatchObject({ code, message: expect.stringMatching(message) });
});

test.each(['application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'application/json; x=y'])(
  '%s is UTF-8',
  (type) => expect(parse('{"ä":1}', { 'content-type': type })).toEqual({ ä: 1 }),
);

test.each([
  ['objects', '{"a":', '}'],
  ['lists', '[', ']'],
  ['lists of objects', '[{"a":', '}]'],
])('2 MiB of nested %s take no longer than flat ones', (_, open, close) => {
  const depth = Math.floor((2 * 1024 * 1024) / (open.length + close.length)) - 1;
  const since = performance.now();
  expect(parse(`${open.repeat(depth)}1${close.repeat(depth)}`)).toEqual(expect.anything());
  expect(performance.now() - since).toBeLessThan(5_000);
});
