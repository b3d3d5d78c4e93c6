import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '../../client/client.ts';
import { CreateTemplateDocument, PreviewTemplateDocument } from '../../client/generated/operations.ts';
import { startHerald, type Herald } from '../start.ts';

/** Texts of templates that are programs: against the clock, the memory, the files, and JavaScript under Liquid. */

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
});
afterAll(() => herald?.stop());

const EXHAUSTING: [name: string, text: string][] = [
  ['a long range', '{% for i in (1..1000000000) %}{{ i }}{% endfor %}'],
  ['a long range that is only made', '{% assign a = (1..1000000000) %}{{ a.size }}'],
  ['loops in loops', `${'{% for i in (1..1000) %}'.repeat(6)}x${'{% endfor %}'.repeat(6)}`],
  ['a text that doubles', `{% assign a = "xxxxxxxx" %}${'{% assign a = a | append: a %}'.repeat(40)}{{ a }}`],
  [
    'a capture that doubles',
    `{% assign a = "xxxxxxxx" %}${'{% capture a %}{{ a }}{{ a }}{% endcapture %}'.repeat(40)}{{ a }}`,
  ],
  [
    'a replacement that grows',
    `{% assign a = "xxxxxxxx" %}${'{% assign a = a | replace: "x", "xxxxxxxx" %}'.repeat(20)}{{ a }}`,
  ],
  [
    'a list that is split and joined',
    `{% assign a = "x,x" %}${'{% assign a = a | append: "," | append: a %}'.repeat(40)}{{ a | split: "," | join: "-" }}`,
  ],
  ['a table', '{% tablerow i in (1..1000000000) %}{{ i }}{% endtablerow %}'],
  ['deep conditions', `${'{% if true %}'.repeat(20_000)}x${'{% endif %}'.repeat(20_000)}`],
];

const REACHING: [name: string, text: string][] = [
  ...['include', 'render', 'layout'].flatMap((tag): [string, string][] => [
    [`${tag} of a file`, `{% ${tag} "/etc/passwd" %}`],
    [`${tag} of a file above`, `{% ${tag} "../../package.json" %}`],
    [`${tag} of a variable`, `{% ${tag} name %}`],
  ]),
  ['the constructor of a text', '{{ name.constructor.name }}'],
  ['the constructor of a constructor', '{{ name.constructor.constructor }}'],
  ['the prototype', '{{ name.__proto__ }}{{ name["__proto__"] }}{{ __proto__ }}'],
  ['a method', '{{ name.toString }}{{ name.toUpperCase }}{{ name["valueOf"] }}'],
  ['the constructor of an object', '{{ deep.constructor }}{{ deep.__proto__.polluted }}{{ deep["constructor"] }}'],
  [
    'the prototype by a filter',
    '{{ list | map: "constructor" }}{{ list | map: "__proto__" }}{{ list | where: "constructor" }}',
  ],
  ['sorting by the prototype', '{{ list | sort: "__proto__" | size }}{{ list | group_by: "constructor" | size }}'],
  ['globals', '{{ process }}{{ globalThis }}{{ global.process }}{{ require }}{{ this }}{{ self }}{{ env }}'],
  ['the engine', '{{ context }}{{ scope }}{{ environments }}{{ globals }}{{ liquid }}'],
];
const BETRAYAL = /function|native code|\[object|root:|"name": "herald"|=>|String|Array\b/;

const variables = {
  name: 'Ada',
  deep: { a: { b: 1 } },
  list: [{ a: 1 }, { a: 2 }],
};

/** @returns what it renders to; null when it was refused, which must name a field */
async function rendered(text: string): Promise<string | null> {
  const code = `attack/${randomUUID()}`;
  const refusals = (errors: readonly { code: string; field: string | null }[]) => {
    for (const error of errors) {
      expect(['BAD_USER_INPUT', 'UNPROCESSABLE']).toContain(error.code);
      expect(error.field, error.code).toBeTruthy();
    }
    return errors.length > 0;
  };
  const input = {
    code,
    email: { subject: 'Hello', html: text },
    variables: [
      { name: 'name', type: 'STRING' as const },
      { name: 'deep', type: 'OBJECT' as const },
      { name: 'list', type: 'LIST' as const },
    ],
  };
  const client = createClient({ url: herald.url, apiKey: herald.adminApiKey });
  const made = await client.requestRaw(CreateTemplateDocument, { input });
  if (refusals(made.errors)) return null;
  const shown = await client.requestRaw(PreviewTemplateDocument, { input: { code, number: 1, variables } });
  return refusals(shown.errors) ? null : (shown.data?.previewTemplate.email?.html ?? '');
}

test('an honest one is rendered', async () => {
  const text = '{{ name }} {{ deep.a.b }} {% for one in list %}{{ one.a }}{% endfor %}';
  expect(await rendered(text)).toBe('Ada 1 12');
});

test.each(EXHAUSTING)('%s is stopped, and meanwhile others are served', { timeout: 30_000 }, async (_, text) => {
  const before = process.memoryUsage().rss;
  const attack = rendered(text);
  const others = await Promise.all(Array.from({ length: 5 }, () => herald.rest('GET', '/api/v1/notifications/')));
  expect(others.map(({ status }) => status)).toEqual(Array(5).fill(200));
  const html = await attack;
  expect((html ?? '').length).toBeLessThan(1024 * 1024);
  expect(process.memoryUsage().rss - before).toBeLessThan(512 * 1024 * 1024);
});

test.each(REACHING)('%s shows nothing', async (_, text) => {
  const html = (await rendered(text)) ?? '';
  expect(html).not.toMatch(BETRAYAL);
});

test('variables that would change a prototype are refused, and change none', async () => {
  const body = `{ "query": "{ me { id } }", "variables": { "a": { "__proto__": { "polluted": true } } } }`;
  expect(await herald.rest('POST', '/graphql', body)).toMatchObject({
    status: 400,
    body: { errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] },
  });
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});
