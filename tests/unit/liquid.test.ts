import { describe, expect, test } from 'vitest';
import { renderLiquid } from '../../platform/liquid.ts';

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
