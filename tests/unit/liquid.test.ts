import { Liquid } from 'liquidjs';
import { describe, expect, test, vi } from 'vitest';
import { faultOfLiquid, renderLiquid, variablesOfLiquid } from '../../platform/liquid.ts';

describe.each(['plain', 'html'] as const)('in %s', (mode) => {
  test.each([
    ['{{ a | default: "x" }}', 'x'],
    ['{{ a | upcase | default: "x" }}', 'x'],
    ['{{ a.b.c | upcase | strip | default: "x" | append: "!" }}', 'x!'],
    ['{{ a | append: b | default: "x" }}', 'x'],
    ['{{ a | default: b | default: "x" }}', 'x'],
    ['{% assign c = a | upcase | default: "x" %}{{ c }}', 'x'],
    ['{% if a %}{{ a }}{% else %}x{% endif %}', 'x'],
  ])('what default or if guards may be missing: %s', (text, expected) => {
    expect(renderLiquid(text, {}, mode)).toEqual({ kind: 'rendered', text: expected });
  });

  test.each([
    ['{{ a }}', 'a'],
    ['{{ a | upcase }}', 'a'],
    ['{{ a | default: b }}', 'b'],
    ['{{ a | default: "x" | append: b }}', 'b'],
    ['{{ a | default: "x" }}{{ a }}', 'a'],
  ])('what nothing guards is named when it is missing: %s', (text, variable) => {
    expect(renderLiquid(text, {}, mode)).toEqual({ kind: 'missing', variable });
  });
});

test('what is there is rendered as ever', () => {
  const variables = { a: 'ada', b: 'b&b' };
  expect(renderLiquid('{{ a | upcase | default: "x" }} {{ b | default: "x" }}', variables, 'html')).toEqual({
    kind: 'rendered',
    text: 'ADA b&amp;b',
  });
});

describe('analysis', () => {
  test.each<[string, [path: string, required: boolean][]]>([
    ['Hello', []],
    [
      '{{ a }} {{ b | upcase }}',
      [
        ['a', true],
        ['b', true],
      ],
    ],
    ['{{ order.items[0].name }}', [['order.items[0].name', true]]],
    ['{{ a | default: "x" }}', [['a', false]]],
    [
      '{{ a | append: b | default: c | append: d }}',
      [
        ['a', false],
        ['b', false],
        ['c', true],
        ['d', true],
      ],
    ],
    [
      '{% if a %}{{ a }}{{ b }}{% else %}{{ c }}{% endif %}',
      [
        ['a', false],
        ['a', false],
        ['b', false],
        ['c', false],
      ],
    ],
    [
      '{% unless a %}{{ b }}{% endunless %}',
      [
        ['a', false],
        ['b', false],
      ],
    ],
    [
      '{% case a %}{% when b %}{{ c }}{% endcase %}',
      [
        ['a', false],
        ['b', false],
        ['c', false],
      ],
    ],
    [
      '{% for item in items limit: most %}{{ item.name }} {{ unit }}{% endfor %}',
      [
        ['items', true],
        ['most', true],
        ['unit', true],
      ],
    ],
    [
      '{% assign b = a %}{{ b }}{{ c }}',
      [
        ['a', false],
        ['c', true],
      ],
    ],
    ['{% capture b %}{{ a }}{% endcapture %}{{ b }}', [['a', true]]],
    [
      '{% cycle a, b %}{% echo c %}',
      [
        ['a', true],
        ['b', true],
        ['c', true],
      ],
    ],
    [
      '{{ a[b] }}',
      [
        ['a[b]', true],
        ['b', true],
      ],
    ],
  ])('of %s', (text, expected) => {
    expect(variablesOfLiquid(text).map(({ path, required }) => [path, required])).toEqual(expected);
  });

  test('says where', () => {
    expect(variablesOfLiquid('a\n  {{ order.total }}')).toMatchObject([
      { segments: ['order', 'total'], line: 2, column: 6 },
    ]);
  });

  test('of a text of 256 KiB is soon done', () => {
    const start = performance.now();
    const text = '{{a}}\n'.repeat(40_000);
    expect(faultOfLiquid(text)).toBeNull();
    expect(variablesOfLiquid(text).at(-1)).toMatchObject({ line: 40_000, column: 3 });
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  // The analysis must not promise what rendering does not keep, so both are asked about each.
  test.each([
    '{{ a }}',
    '{{ a | default: "x" }}',
    '{{ "x" | default: a }}',
    '{% if a %}{{ a }}{% endif %}',
    '{% assign b = a %}',
    '{% for item in a %}{% endfor %}',
    '{% case a %}{% when 1 %}{% endcase %}',
    '{% capture b %}{{ a }}{% endcapture %}',
    '{{ "x" | append: a | default: "y" }}',
    '{% assign b = "x" | append: a %}',
    '{% if x == a %}{% endif %}',
    '{% tablerow i in a %}{% endtablerow %}',
    '{% cycle a %}',
    '{% liquid\necho a\n%}',
    '{% unless a %}{% endunless %}',
  ])('agrees with rendering about what is required: %s', (text) => {
    expect(variablesOfLiquid(text).find(({ path }) => path === 'a')?.required).toBe(
      renderLiquid(text, {}, 'plain').kind === 'missing',
    );
  });
});

test.each(['include "a"', 'render "a"', 'layout "a"'])('other files are refused when a text is written: %s', (tag) => {
  expect(faultOfLiquid(`x\n {% ${tag} %}`)).toMatchObject({ line: 2, column: 2 });
});

test('what was parsed is kept for the next time, but not so much of it that memory runs out', () => {
  const parse = vi.spyOn(Liquid.prototype, 'parse');
  const long = (name: number) => `${name} `.padEnd(256 * 1024);
  const read = (text: string) => {
    const before = parse.mock.calls.length;
    expect(faultOfLiquid(text)).toBeNull();
    return parse.mock.calls.length > before ? 'parsed' : 'kept';
  };
  try {
    expect([read(long(0)), read(long(0))]).toEqual(['parsed', 'kept']);
    for (let name = 1; name <= 20; name += 1) read(long(name));
    expect([read(long(20)), read(long(0))]).toEqual(['kept', 'parsed']);
  } finally {
    parse.mockRestore();
  }
});
