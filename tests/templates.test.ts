import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  CreateTemplateDocument,
  DraftTemplateVersionDocument,
  PreviewTemplateDocument,
  PublishTemplateDocument,
  RollBackTemplateDocument,
  TemplateDiffDocument,
  TemplateDocument,
  TemplatePublicationsDocument,
  TemplatesDocument,
  TemplateVersionDocument,
  TemplateVersionsDocument,
  UpdateTemplateDocument,
  type CreateTemplateInput,
  type DraftTemplateVersionInput,
  type PreviewTemplateInput,
  type UpdateTemplateInput,
} from '../client/generated/operations.ts';
import { givenUser, mailsOf, sendBody } from './given.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded' });
});
afterAll(() => herald?.stop());

const email = (text: string) => ({ subject: text, html: `<p>${text}</p>` });

async function givenTemplate(fields: Partial<CreateTemplateInput> = {}): Promise<string> {
  const input = { code: `story/${randomUUID()}`, email: email('Hello {{ name }}'), ...fields };
  return (await herald.graphql(CreateTemplateDocument, { input })).createTemplate.code;
}

const draft = async (code: string, fields: Partial<DraftTemplateVersionInput> = {}) => {
  const contents = [{ locale: 'en', email: email('Hi {{ name }}') }];
  const input = { code, contents, ...fields };
  return (await herald.graphql(DraftTemplateVersionDocument, { input })).draftTemplateVersion;
};
const publish = async (code: string, number: number, reason?: string) =>
  (await herald.graphql(PublishTemplateDocument, { code, number, reason })).publishTemplate;
const rollBack = async (code: string, number?: number, reason?: string) =>
  (await herald.graphql(RollBackTemplateDocument, { code, number, reason })).rollBackTemplate;
const update = async (code: string, input: UpdateTemplateInput) =>
  (await herald.graphql(UpdateTemplateDocument, { code, input })).updateTemplate;
const preview = async (input: PreviewTemplateInput) =>
  (await herald.graphql(PreviewTemplateDocument, { input })).previewTemplate;
const read = async (code: string) => (await herald.graphql(TemplateDocument, { code })).template;
const readVersion = async (code: string, number: number) =>
  (await herald.graphql(TemplateVersionDocument, { code, number })).template?.version;
const readVersions = async (code: string, page: { first?: number; after?: string | null } = {}) =>
  (await herald.graphql(TemplateVersionsDocument, { code, ...page })).template!.versions;
const readHistory = async (code: string, page: { first?: number; after?: string | null } = {}) =>
  (await herald.graphql(TemplatePublicationsDocument, { code, ...page })).template!.publications;
const find = async (variables: { search?: string; first?: number; after?: string | null }) =>
  (await herald.graphql(TemplatesDocument, variables)).templates;
const diff = async (code: string, from: number, to: number) =>
  (await herald.graphql(TemplateDiffDocument, { code, from, to })).template!.diff;

/** The whole answer of the gateway. */
const ask = async (query: string, variables: object) =>
  (await herald.rest('POST', `${herald.url}/graphql`, { query, variables })).body;

const textOf = (statement: unknown): string => (typeof statement === 'string' ? statement : JSON.stringify(statement));

/** Everything that is stored of templates. */
const stored = () =>
  herald.sql(
    'template',
    `SELECT (SELECT count(*) FROM template) t, (SELECT count(*) FROM template_version) v, (SELECT count(*) FROM template_content) c,
      (SELECT count(*) FROM template_publication) p, (SELECT max(updated_at) FROM template) u`,
  );

describe('a version', () => {
  test('is drafted, published and rolled back; the history says who, when and why', async () => {
    const code = await givenTemplate({ reason: 'the first one' });
    const second = await draft(code, { reason: 'friendlier' });
    expect(second).toMatchObject({
      number: 2,
      isPublished: false,
      reason: 'friendlier',
      createdBy: 'admin',
      publishedAt: null,
      publishedBy: null,
      faults: [],
    });
    expect((await read(code))?.currentVersion).toMatchObject({ number: 1 });

    expect(await publish(code, 2, 'spring')).toMatchObject({ currentVersion: { number: 2 } });
    expect(await readVersion(code, 2)).toMatchObject({ isPublished: true, publishedBy: 'admin' });
    expect(await readVersion(code, 1)).toMatchObject({
      isPublished: false,
      publishedBy: 'admin',
      reason: 'the first one',
    });
    expect(await rollBack(code, undefined, 'too friendly')).toMatchObject({ currentVersion: { number: 1 } });

    const { edges } = await readHistory(code);
    expect(edges.map(({ node }) => node)).toMatchObject([
      { number: 1, kind: 'ROLLED_BACK', by: 'admin', reason: 'too friendly' },
      { number: 2, kind: 'PUBLISHED', by: 'admin', reason: 'spring' },
      { number: 1, kind: 'PUBLISHED', by: 'admin', reason: 'the first one' },
    ]);
    const times = edges.map(({ node }) => node.at);
    expect(times).toEqual(times.toSorted().reverse());
    expect((await readVersion(code, 1))?.publishedAt).toBe(times[0]);
  });

  test('goes one more step back each time', async () => {
    const code = await givenTemplate();
    for (const number of [2, 3]) {
      await draft(code);
      await publish(code, number);
    }
    expect(await rollBack(code)).toMatchObject({ currentVersion: { number: 2 } });
    expect(await rollBack(code)).toMatchObject({ currentVersion: { number: 1 } });
    await expect(rollBack(code)).rejects.toMatchObject({ code: 'CONFLICT', field: 'code' });
    expect(await rollBack(code, 3)).toMatchObject({ currentVersion: { number: 3 } });
  });

  test('never changes, not even by a slip in the database', async () => {
    const code = await givenTemplate();
    for (const table of ['template_version', 'template_content', 'template_publication'])
      await expect(herald.sql('template', `UPDATE ${table} SET number = 7 WHERE code = $1`, [code])).rejects.toThrow(
        'never changes',
      );
  });

  test('takes over what it is based on, language by language', async () => {
    const code = await givenTemplate({
      push: { title: 'Hello', body: 'x' },
      contents: [{ locale: 'DE-at', email: email('Hallo {{ name }}') }],
      variables: [{ name: 'name', type: 'STRING', description: 'First name' }],
    });
    expect((await readVersion(code, 1))?.contents.map(({ locale }) => locale)).toEqual(['de-AT', 'en']);
    const next = await draft(code, { basedOn: 1, contents: [{ locale: 'de-at', email: email('Servus {{ name }}') }] });
    expect(next).toMatchObject({
      basedOn: 1,
      contents: [
        { locale: 'de-AT', email: { subject: 'Servus {{ name }}' } },
        { locale: 'en', email: { subject: 'Hello {{ name }}' }, push: { title: 'Hello' } },
      ],
      declaredVariables: [{ name: 'name', type: 'STRING', required: true, description: 'First name' }],
    });
    expect(await draft(code, { basedOn: 1, variables: [] })).toMatchObject({ declaredVariables: [] });
  });

  test('tells of missing languages', async () => {
    const code = await givenTemplate({ contents: [{ locale: 'de', email: email('Hallo') }] });
    expect(await draft(code, { contents: [{ locale: 'fr', email: email('Salut') }] })).toMatchObject({
      number: 2,
      missingLocales: ['de', 'en'],
      faults: [{ severity: 'ERROR', field: 'contents.en', code: 'MISSING_CONTENT' }],
    });
    // A language that was never published is missing nowhere else.
    expect(await readVersion(code, 1)).toMatchObject({ missingLocales: [] });
    expect(await draft(code)).toMatchObject({ missingLocales: ['de'], faults: [] });
  });
});

test('drafts at the same time get a number each, and publications at the same time are all in the history', async () => {
  const code = await givenTemplate();
  const numbers = (await Promise.all(Array.from({ length: 8 }, () => draft(code)))).map(({ number }) => number);
  expect(numbers.toSorted((a, b) => a - b)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
  await Promise.all(numbers.map((number) => publish(code, number)));
  const history = (await readHistory(code)).edges.map(({ node }) => node.number);
  expect(history.toSorted((a, b) => a - b)).toEqual([1, ...numbers.toSorted((a, b) => a - b)]);
  expect((await read(code))?.currentVersion?.number).toBe(history[0]);
});

describe('the diff', () => {
  test('tells part by part what changed', async () => {
    const code = await givenTemplate({
      email: { subject: 'Hello', html: 'one\ntwo\nthree\n' },
      push: { title: 'Hello', body: 'x', data: { a: 1 } },
    });
    await draft(code, {
      contents: [
        {
          locale: 'en',
          email: { subject: 'Hello', html: 'one\n2\nthree\n' },
          push: { title: 'Hello', body: 'x', data: { a: 2 } },
        },
        { locale: 'de', push: { title: 'Hallo', body: 'y' } },
      ],
      variables: [{ name: 'name', type: 'STRING', required: false }],
    });
    const differences = await diff(code, 1, 2);
    expect(differences.map(({ locale, part }) => [locale, part])).toEqual([
      [null, 'variables'],
      ['de', 'push.body'],
      ['de', 'push.title'],
      ['en', 'email.html'],
      ['en', 'push.data'],
    ]);
    expect(differences.find(({ part }) => part === 'email.html')).toEqual({
      locale: 'en',
      part: 'email.html',
      before: 'one\ntwo\nthree\n',
      after: 'one\n2\nthree\n',
      unified: '@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n',
    });
    expect(differences.find(({ part }) => part === 'push.title')).toMatchObject({ before: null, after: 'Hallo' });
    expect(await diff(code, 1, 1)).toEqual([]);
    const there = await diff(code, 2, 1);
    expect(there.find(({ part }) => part === 'push.title')).toMatchObject({ before: 'Hallo', after: null });
  });

  test('of large texts that have nothing in common comes soon', async () => {
    const lines = (mark: string) => Array.from({ length: 20_000 }, (_, index) => `${mark}${index}`).join('\n');
    const code = await givenTemplate({ email: { subject: 'x', html: lines('a') } });
    await draft(code, { contents: [{ locale: 'en', email: { subject: 'x', html: lines('b') } }] });
    const start = performance.now();
    const [difference] = await diff(code, 1, 2);
    expect(performance.now() - start).toBeLessThan(3_000);
    expect(difference?.unified).toMatch(/^@@ -1,20000 \+1,20000 @@\n-a0\n/);
  });
});

describe('publishing', () => {
  const faulty: [
    string,
    Partial<DraftTemplateVersionInput>,
    { field: string; code: string; line?: number; column?: number },
  ][] = [
    [
      'a syntax error',
      { contents: [{ locale: 'en', email: { subject: 'x', html: 'a\n  {% if %}x{% endif %}' } }] },
      { field: 'contents.en.email.html', code: 'INVALID_LIQUID', line: 2, column: 8 },
    ],
    [
      'an unknown filter',
      {
        contents: [
          { locale: 'en', email: email('x') },
          { locale: 'de', push: { title: 'x', body: 'a\n{{ name | shout }}' } },
        ],
      },
      { field: 'contents.de.push.body', code: 'INVALID_LIQUID', line: 2, column: 1 },
    ],
    [
      'an unknown tag',
      { contents: [{ locale: 'en', email: email('a {% include "b" %}') }] },
      { field: 'contents.en.email.subject', code: 'INVALID_LIQUID', line: 1, column: 3 },
    ],
    [
      'no default language',
      { contents: [{ locale: 'de', email: email('x') }] },
      { field: 'contents.en', code: 'MISSING_CONTENT' },
    ],
    [
      'a variable that is not declared',
      { variables: [{ name: 'other', type: 'STRING' }] },
      { field: 'contents.en.email.subject', code: 'UNDECLARED_VARIABLE', line: 1, column: 7 },
    ],
    [
      'an optional variable that is not guarded',
      { variables: [{ name: 'name', type: 'STRING', required: false }] },
      { field: 'contents.en.email.subject', code: 'OPTIONAL_NOT_GUARDED', line: 1, column: 7 },
    ],
    [
      'a field of a number',
      { contents: [{ locale: 'en', email: email('{{ name.first }}') }], variables: [{ name: 'name', type: 'NUMBER' }] },
      { field: 'contents.en.email.subject', code: 'WRONG_USE', line: 1, column: 4 },
    ],
  ];

  test.each(faulty)('of %s is refused with its place, and nothing is published', async (_, fields, fault) => {
    const code = await givenTemplate();
    const { number, faults } = await draft(code, fields);
    expect(faults).toContainEqual(expect.objectContaining({ severity: 'ERROR', ...fault }));
    const before = await stored();
    await expect(publish(code, number)).rejects.toMatchObject({ code: 'UNPROCESSABLE', field: fault.field });
    expect(await stored()).toEqual(before);
    const { line, column } = fault;
    if (line !== undefined) {
      await expect(publish(code, number)).rejects.toThrow(`line:${line}, col:${column}`);
      const { errors } = await ask(PublishTemplateDocument.toString(), { code, number });
      expect(errors[0].extensions.errors).toContainEqual(expect.objectContaining(fault));
    }
  });

  test('warns of what is only worth a look', async () => {
    const code = await givenTemplate();
    const { number, faults } = await draft(code, {
      contents: [
        { locale: 'en', email: email('Hi {{ name | default: "there" }}'), push: { title: 'x', body: 'y' } },
        { locale: 'de', email: email('Hallo') },
      ],
      variables: [
        { name: 'name', type: 'STRING', required: false },
        { name: 'age', type: 'NUMBER', required: false },
      ],
    });
    expect(faults.map(({ severity, field, code: fault }) => [severity, field, fault])).toEqual([
      ['WARNING', 'variables.age', 'UNUSED_VARIABLE'],
      ['WARNING', 'contents.de.push', 'MISSING_CHANNEL'],
    ]);
    expect(await publish(code, number)).toMatchObject({ currentVersion: { number } });
  });

  test('is refused for what is published already', async () => {
    const code = await givenTemplate();
    await expect(publish(code, 1)).rejects.toMatchObject({ code: 'CONFLICT', field: 'number' });
    await draft(code);
    await expect(rollBack(code, 2)).rejects.toMatchObject({ code: 'CONFLICT', field: 'number' });
  });
});

test('the variables of the texts are found, with their places and whether they are required', async () => {
  const code = await givenTemplate({
    email: {
      subject: 'Order {{ order.number }}',
      html: '{% for item in order.items %}{{ item.name }}{% endfor %}\n{% if note %}{{ note }}{% endif %} {{ unsubscribe_url }}',
    },
    push: { title: '{{ name | default: "you" }}', body: 'x', link: '{{ note }}' },
    unsubscribable: true,
  });
  const use = (path: string, part: string, line: number, column: number) => ({
    path,
    locale: 'en',
    part,
    line,
    column,
  });
  expect((await readVersion(code, 1))?.variables).toEqual([
    { name: 'name', required: false, uses: [use('name', 'push.title', 1, 4)] },
    {
      name: 'note',
      required: true,
      uses: [use('note', 'email.html', 2, 7), use('note', 'email.html', 2, 17), use('note', 'push.link', 1, 4)],
    },
    {
      name: 'order',
      required: true,
      uses: [use('order.number', 'email.subject', 1, 10), use('order.items', 'email.html', 1, 16)],
    },
  ]);
});

describe('a preview', () => {
  const contents = [
    { locale: 'de', email: email('Hallo {{ name }}'), push: { title: 'Hallo', body: '{{ name }}' } },
    { locale: 'pt-BR', email: email('Olá {{ name }}') },
  ];

  test('is exactly what is sent, and sends nothing', async () => {
    const code = await givenTemplate({
      email: { subject: 'Hi\n{{ name }}', html: '<p>{{ name }}</p> <a href="https://example.com/{{ id }}">more</a>' },
      variables: [
        { name: 'name', type: 'STRING' },
        { name: 'id', type: 'NUMBER' },
      ],
    });
    const variables = { name: '<Ada>\r\nBcc: x & y', id: 7 };
    const shown = await preview({ code, variables });
    expect(shown).toMatchObject({
      version: { number: 1 },
      email: { subject: 'Hi <Ada> Bcc: x & y', html: expect.stringContaining('<p>&lt;Ada&gt;') },
      push: null,
    });
    expect(await herald.sql('notification', 'SELECT id FROM notification WHERE template_code = $1', [code])).toEqual(
      [],
    );

    const user = await givenUser(herald, { locale: 'de' });
    const { body } = await herald.rest('POST', '/api/v1/notifications/', sendBody(user, code, { variables }));
    await herald.drained();
    const [content] = await herald.sql('notification', 'SELECT message FROM content WHERE notification_id = $1', [
      body.notification_id,
    ]);
    expect(content?.['message']).toMatchObject({ ...shown.email });
    expect(await mailsOf(herald, body.notification_id)).toHaveLength(1);
  });

  test.each<[string, Partial<PreviewTemplateInput>, string, string]>([
    ['the asked one', { locale: 'de', userLocale: 'en' }, 'de', 'ASKED'],
    ['the asked one without region', { locale: 'de-AT', userLocale: 'en' }, 'de', 'ASKED_LANGUAGE'],
    ["the user's", { locale: 'fr', userLocale: 'pt-br' }, 'pt-BR', 'USER'],
    ["the user's without region", { userLocale: 'de-CH' }, 'de', 'USER_LANGUAGE'],
    ["the template's default", { locale: 'fr', userLocale: 'it' }, 'en', 'TEMPLATE_DEFAULT'],
    ['one that has the channel', { locale: 'en', userLocale: 'de', notificationType: 'PUSH' }, 'de', 'USER'],
  ])('uses %s, and says so', async (_, asked, locale, localeSource) => {
    const code = await givenTemplate({ contents });
    expect(await preview({ code, variables: { name: 'Ada' }, ...asked })).toMatchObject({ locale, localeSource });
  });

  test('renders one channel or all, and drafts', async () => {
    const code = await givenTemplate({ push: { title: 'T {{ name }}', body: 'x' } });
    const variables = { name: 'Ada' };
    expect(await preview({ code, variables })).toMatchObject({
      email: { subject: 'Hello Ada' },
      push: { title: 'T Ada' },
    });
    expect(await preview({ code, variables, notificationType: 'PUSH' })).toMatchObject({
      email: null,
      push: { title: 'T Ada' },
    });
    await draft(code);
    expect(await preview({ code, variables, number: 2 })).toMatchObject({
      version: { number: 2 },
      email: { subject: 'Hi Ada' },
    });
  });

  test('has a stand-in for the link that ends the mails', async () => {
    const code = await givenTemplate({ email: email('{{ unsubscribe_url }}'), unsubscribable: true });
    expect((await preview({ code })).email?.subject).toMatch(/^https:/);
  });

  test('names every missing variable', async () => {
    const code = await givenTemplate({ email: email('{{ a }}'), push: { title: '{{ b }}', body: 'x' } });
    await expect(preview({ code })).rejects.toMatchObject({ code: 'UNPROCESSABLE', field: 'variables.a' });
    await expect(preview({ code, variables: { a: 1 } })).rejects.toMatchObject({ field: 'variables.b' });
  });

  test('of a draft with a syntax error says where', async () => {
    const code = await givenTemplate();
    const { number } = await draft(code, { contents: [{ locale: 'en', email: { subject: 'x', html: 'a\n{{ b' } }] });
    await expect(preview({ code, number })).rejects.toMatchObject({
      code: 'UNPROCESSABLE',
      field: 'contents.en.email.html',
      message: expect.stringContaining('line:2, col:1'),
    });
  });
});

describe('declared variables', () => {
  const declared: [type: 'STRING' | 'NUMBER' | 'BOOLEAN' | 'OBJECT' | 'LIST', good: unknown, bad: unknown][] = [
    ['STRING', 'Ada', 7],
    ['NUMBER', 7, '7'],
    ['BOOLEAN', false, 'false'],
    ['OBJECT', { a: 1 }, [1]],
    ['LIST', [1], { a: 1 }],
  ];
  test.each(declared)('%s: another kind is refused by a preview and a send alike', async (type, good, bad) => {
    const code = await givenTemplate({
      email: email('{% if thing %}x{% endif %}'),
      variables: [{ name: 'thing', type }],
    });
    const user = await givenUser(herald);
    const send = (variables: object) =>
      herald.rest('POST', '/api/v1/notifications/', sendBody(user, code, { variables }));

    expect(await preview({ code, variables: { thing: good } })).toBeTruthy();
    expect(await send({ thing: good })).toMatchObject({ status: 202 });
    for (const [variables, fault] of [
      [{ thing: bad }, 'WRONG_TYPE'],
      [{}, 'MISSING_VARIABLE'],
      [{ thing: null }, 'MISSING_VARIABLE'],
    ] as const) {
      const field = 'variables.thing';
      await expect(preview({ code, variables })).rejects.toMatchObject({ code: 'UNPROCESSABLE', field });
      expect(await send(variables)).toMatchObject({ status: 422, body: { errors: [{ field, code: fault }] } });
    }
  });

  test('that are optional may be left out or null', async () => {
    const code = await givenTemplate({
      email: email('{{ thing | default: "x" }}'),
      variables: [{ name: 'thing', type: 'NUMBER', required: false }],
    });
    expect(await preview({ code, variables: {} })).toMatchObject({ email: { subject: 'x' } });
    expect(await preview({ code, variables: { thing: null, other: 1 } })).toMatchObject({ email: { subject: 'x' } });
  });
});

test('settings change, and hold from the next send on', async () => {
  const code = await givenTemplate({ contents: [{ locale: 'de', email: email('Hallo {{ name }}') }] });
  const user = await givenUser(herald);
  const send = async () => {
    const { body } = await herald.rest('POST', '/api/v1/notifications/', sendBody(user, code));
    await herald.drained();
    return (await mailsOf(herald, body.notification_id))[0]?.Subject;
  };
  expect(await send()).toBe('Hello Ada');
  const changed = await update(code, { defaultLocale: 'DE', unsubscribable: true });
  expect(changed).toMatchObject({
    defaultLocale: 'de',
    unsubscribable: true,
    sensitive: false,
    currentVersion: { number: 1 },
  });
  expect(await send()).toBe('Hallo Ada');
  await expect(update(code, { defaultLocale: 'fr' })).rejects.toMatchObject({
    code: 'UNPROCESSABLE',
    field: 'defaultLocale',
  });
  expect(await read(code)).toMatchObject({ defaultLocale: 'de' });
});

describe('lists', () => {
  test('of templates are paged by code and searched', async () => {
    const mark = randomUUID().slice(0, 8);
    const codes = await Promise.all(['c', 'a', 'b'].map((name) => givenTemplate({ code: `${mark}/${name}_x` })));
    const first = await find({ search: mark.toUpperCase(), first: 2 });
    expect(first.edges.map(({ node }) => node.code)).toEqual(codes.toSorted().slice(0, 2));
    expect(first.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
    const second = await find({ search: mark, first: 2, after: first.pageInfo.endCursor });
    expect(second.edges.map(({ node }) => node.code)).toEqual(codes.toSorted().slice(2));
    expect(second.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
    expect((await find({ search: `${mark}/a_` })).edges).toHaveLength(1);
    expect((await find({ search: `${mark}%` })).edges).toHaveLength(0);
  });

  test('of versions and publications are paged, newest first', async () => {
    const code = await givenTemplate();
    for (const number of [2, 3, 4, 5]) {
      await draft(code);
      await publish(code, number);
    }
    for (const readPage of [readVersions, readHistory]) {
      const seen: number[] = [];
      let after: string | null | undefined;
      do {
        const { edges, pageInfo } = await readPage(code, { first: 2, after });
        seen.push(...edges.map(({ node }) => node.number));
        expect(pageInfo).toMatchObject({ hasPreviousPage: after !== undefined, endCursor: edges.at(-1)?.cursor });
        after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
      } while (after !== null);
      expect(seen).toEqual([5, 4, 3, 2, 1]);
    }
  });

  test('cost one statement each, however many rows', async () => {
    const mark = randomUUID().slice(0, 8);
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) {
      const code = await givenTemplate({ code: `${mark}/${name}` });
      await draft(code);
    }
    const query = `query ($search: String) { templates(search: $search, first: 6) { edges { node {
      code versions(first: 3) { edges { node { number isPublished contents { locale } faults { code } variables { name } missingLocales template { code } } } }
      publications(first: 3) { edges { node { number } } } currentVersion { number contents { locale } }
    } } } }`;
    const statementsOf = async (search: string) => {
      const spy = vi.spyOn(pg.Client.prototype, 'query');
      const { data, errors } = await ask(query, { search });
      const statements = spy.mock.calls.map(([statement]: unknown[]) => textOf(statement));
      spy.mockRestore();
      expect(errors).toBeUndefined();
      return {
        codes: data.templates.edges.length,
        count: statements.filter((text) => text.includes('template')).length,
      };
    };
    const one = await statementsOf(`${mark}/a`);
    const six = await statementsOf(mark);
    expect([one.codes, six.codes]).toEqual([1, 6]);
    expect(one.count).toBeGreaterThan(3);
    // What comes while a statement is under way goes with the next one, so the number varies a little, but not with the rows.
    expect(six.count).toBeLessThan(one.count + 4);
  });
});

describe('over REST', () => {
  const TEMPLATES = '/api/v1/templates/';
  const post = (path: string, body: object) => herald.rest('POST', TEMPLATES + path, body);

  test.each(['raw', 'as %2F'])(
    'a version is drafted, published, rolled back and previewed; slashes are %s',
    async (how) => {
      const code = `shop/${randomUUID()}`;
      const inPath = how === 'raw' ? code : code.replaceAll('/', '%2F');
      const variables = [{ name: 'first_name', type: 'string' }];
      const contents = [{ locale: 'de-at', email: email('Servus {{ first_name }}') }];
      await post('', { code, email: email('Hello {{ first_name }}'), contents, variables });

      const drafted = await post(`${inPath}/versions`, {
        based_on: 1,
        contents: [{ locale: 'en', push: { title: 'Hi {{ first_name }}', body: 'x', ttl_seconds: 60 } }],
        reason: 'shorter',
      });
      expect(drafted).toMatchObject({
        status: 201,
        body: {
          number: 2,
          is_published: false,
          based_on: 1,
          reason: 'shorter',
          created_by: 'admin',
          missing_locales: [],
        },
      });
      expect(drafted.body.faults).toContainEqual(
        expect.objectContaining({ severity: 'warning', field: 'contents.en.email', code: 'MISSING_CHANNEL' }),
      );
      expect(await post(`${inPath}/publish`, { number: 2, reason: 'spring' })).toMatchObject({
        status: 200,
        body: { code, number: 2, is_published: true },
      });
      const asked = { locale: 'en', variables: { first_name: 'Ada' } };
      expect(await post(`${inPath}/preview/`, asked)).toMatchObject({
        status: 200,
        body: {
          number: 2,
          locale: 'en',
          locale_source: 'asked',
          email: null,
          push: { title: 'Hi Ada', ttl_seconds: 60 },
        },
      });
      expect(
        await post(`${inPath}/preview`, { ...asked, number: 1, notification_type: 'email', locale: 'de-AT' }),
      ).toMatchObject({
        status: 200,
        body: { number: 1, locale: 'de-AT', email: { subject: 'Servus Ada' }, push: null },
      });
      expect(await post(`${inPath}/rollback`, {})).toMatchObject({ status: 200, body: { code, number: 1 } });

      const first = await herald.rest('GET', `${TEMPLATES}${inPath}/versions/?first=1`);
      expect(first).toMatchObject({ status: 200, body: { versions: [{ number: 2, is_published: false }] } });
      const second = await herald.rest('GET', `${TEMPLATES}${inPath}/versions?first=1&after=${first.body.next}`);
      expect(second.body).toMatchObject({ versions: [{ number: 1, is_published: true }], next: null });
    },
  );

  test('what can not be is refused as problem details, in the spelling of the path', async () => {
    const code = await givenTemplate();
    const large = { locale: 'de-AT', push: { title: 'x', body: 'x', ttl_seconds: -1 } };
    expectProblem(await post(`${code}/versions`, { contents: [large] }), 400, ['contents.de-AT.push.ttl_seconds']);
    expectProblem(await post(`${code}/versions`, { contents: [{ ...large, colour: 'red' }] }), 400, [
      'contents.0.colour',
    ]);
    expectProblem(await post(`${code}/versions`, { based_on: 7 }), 404, ['based_on']);
    expectProblem(await post(`${code}/versions`, { variables: [{ name: 'a', type: 'money' }] }), 400, [
      'variables.0.type',
    ]);
    expectProblem(await post(`${code}/publish`, { number: 7 }), 404, ['number']);
    expectProblem(await post(`${code}/publish`, {}), 400, ['number']);
    expectProblem(await post(`${code}/publish`, { number: 1 }), 409, ['number']);
    expectProblem(await post(`${code}/rollback`, {}), 409, ['code']);
    expectProblem(await post(`${code}/preview`, {}), 422, ['variables.name']);
    expectProblem(await post('no/such/preview', {}), 404, ['code']);
    expectProblem(await post('no/such', {}), 404);
    expectProblem(await herald.rest('GET', `${TEMPLATES}no/such/versions`), 404);
    expectProblem(await herald.rest('GET', `${TEMPLATES}${code}/publish`), 404);
    expectProblem(await herald.rest('GET', `${TEMPLATES}${code}/versions?first=0`), 400, ['first']);
    expectProblem(await herald.rest('GET', `${TEMPLATES}${code}/versions?after=x`), 400, ['after']);
    await draft(code, { contents: [{ locale: 'en', email: email('{{ a | shout }}') }] });
    expectProblem(await post(`${code}/publish`, { number: 2 }), 422, [
      'contents.en.email.html',
      'contents.en.email.subject',
    ]);
  });
});
