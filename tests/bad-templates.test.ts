import { randomUUID } from 'node:crypto';
import type { Document } from '../client/client.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
  UpdateTemplateDocument,
  type CreateTemplateInput,
  type DraftTemplateVersionInput,
  type PreviewTemplateInput,
  type UpdateTemplateInput,
} from '../client/generated/operations.ts';
import { startHerald, type Herald } from './start.ts';

/** Input that can't be right: one clear error with code and field, and nothing stored. */

const HALF = '\ud800'; // of a surrogate pair
const MEGABYTE = 'x'.repeat(1_000_000);
/** As much as the body of any request may hold. */
const LONG = 'x'.repeat(90_000);
const email = (text: string) => ({ subject: text, html: text });

let herald: Herald;
/** Of two versions, the first published, with two languages; and another one. */
let code: string;
let other: string;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded', parts: ['user', 'template', 'notification', 'gateway'] });
  [code, other] = [await givenTemplate(), await givenTemplate()];
});
afterAll(() => herald?.stop());

async function givenTemplate(): Promise<string> {
  const input = {
    code: `bad/${randomUUID()}`,
    email: email('Hello {{ name }}'),
    contents: [{ locale: 'de', email: email('Hallo {{ name }}') }],
    variables: [{ name: 'name', type: 'STRING' as const }],
  };
  const { createTemplate } = await herald.graphql(CreateTemplateDocument, { input });
  await herald.graphql(DraftTemplateVersionDocument, { input: { code: input.code, basedOn: 1 } });
  return createTemplate.code;
}

const stored = () =>
  herald.sql(
    'template',
    `SELECT (SELECT json_agg(t ORDER BY code) FROM template t)::text t, (SELECT count(*) FROM template_version) v,
      (SELECT count(*) FROM template_content) c, (SELECT count(*) FROM template_publication) p`,
  );

async function expectRefused(call: () => Promise<unknown>, refusal: { code: string; field: string }) {
  const before = await stored();
  await expect(call()).rejects.toMatchObject({ message: expect.stringContaining(refusal.field), ...refusal });
  expect(await stored()).toEqual(before);
}

/** Two hundred versions with all their texts would cost too much. */
const versionPage: Document<{ template: { versions: { pageInfo: { endCursor: string | null } } } }, object> = {
  toString: () => `query ($code: ID!, $first: Int! = 50, $after: String) {
    template(code: $code) { versions(first: $first, after: $after) { edges { node { number } } pageInfo { endCursor } } }
  }`,
};

const texts: [string, string][] = [
  ['1 MB', MEGABYTE],
  ['a control character', 'a\u0007'],
  ['a NUL', 'a\0'],
  ['half a surrogate pair', `a${HALF}`],
  ['nothing', ' '],
];

describe('a new version', () => {
  test.each(texts)('is not made of a text of %s', async (_, text) => {
    const contents = [{ locale: 'de', email: { subject: 'x', html: text } }];
    await expectRefused(() => herald.graphql(DraftTemplateVersionDocument, { input: { code, contents } }), {
      code: 'BAD_USER_INPUT',
      field: 'contents.de.email.html',
    });
  });

  test.each<[string, Partial<DraftTemplateVersionInput>, string]>([
    ['no language at all', {}, 'contents'],
    ['a language that is none', { contents: [{ locale: '?', email: email('x') }] }, 'contents.0.locale'],
    ['a language of 1 MB', { contents: [{ locale: MEGABYTE, email: email('x') }] }, 'contents.0.locale'],
    [
      'a language twice, in two spellings',
      { contents: ['de-AT', 'DE-at'].map((locale) => ({ locale, email: email('x') })) },
      'contents.1.locale',
    ],
    ['a language without channel', { contents: [{ locale: 'de' }] }, 'contents.de.email'],
    [
      '101 languages',
      { contents: Array.from({ length: 101 }, (_, index) => ({ locale: `x-${index}`, email: email('x') })) },
      'contents',
    ],
    [
      'a time to live below 0',
      { contents: [{ locale: 'de', push: { title: 'x', body: 'x', ttlSeconds: -1 } }] },
      'contents.de.push.ttlSeconds',
    ],
    [
      'half a surrogate pair in data',
      { contents: [{ locale: 'de', push: { title: 'x', body: 'x', data: { a: [HALF] } } }] },
      'contents.de.push.data',
    ],
    ['a variable whose name is none', { basedOn: 1, variables: [{ name: 'a b', type: 'STRING' }] }, 'variables.0.name'],
    ['a variable of 1 MB', { basedOn: 1, variables: [{ name: MEGABYTE, type: 'STRING' }] }, 'variables.0.name'],
    [
      'a variable twice',
      {
        basedOn: 1,
        variables: [
          { name: 'a', type: 'STRING' },
          { name: 'a', type: 'LIST' },
        ],
      },
      'variables.1.name',
    ],
    [
      "Herald's own variable",
      { basedOn: 1, variables: [{ name: 'unsubscribe_url', type: 'STRING' }] },
      'variables.0.name',
    ],
    [
      'a description with a NUL',
      { basedOn: 1, variables: [{ name: 'a', type: 'STRING', description: '\0' }] },
      'variables.0.description',
    ],
    [
      '201 variables',
      {
        basedOn: 1,
        variables: Array.from({ length: 201 }, (_, index) => ({ name: `a${index}`, type: 'STRING' as const })),
      },
      'variables',
    ],
    ['a reason of two lines', { basedOn: 1, reason: 'a\nb' }, 'reason'],
    ['a reason of 1 MB', { basedOn: 1, reason: MEGABYTE }, 'reason'],
    ['half a surrogate pair as its reason', { basedOn: 1, reason: HALF }, 'reason'],
  ])('is not made of %s', async (_, fields, field) => {
    await expectRefused(() => herald.graphql(DraftTemplateVersionDocument, { input: { code, ...fields } }), {
      code: 'BAD_USER_INPUT',
      field,
    });
  });

  test.each([0, -1, 3, 2 ** 31 - 1])('is not based on version %i, which there is not', async (basedOn) => {
    await expectRefused(() => herald.graphql(DraftTemplateVersionDocument, { input: { code, basedOn } }), {
      code: 'NOT_FOUND',
      field: 'basedOn',
    });
  });

  test('has at most 2 MiB, what it takes over included', async () => {
    const large = `shop/${randomUUID()}`;
    await herald.graphql(CreateTemplateDocument, { input: { code: large, email: email('x') } });
    const text = 'x'.repeat(250_000);
    const contents = (locales: string[]) =>
      locales.map((locale) => ({ locale, email: { subject: 'x', html: text, text } }));
    await herald.graphql(DraftTemplateVersionDocument, {
      input: { code: large, contents: contents(['en', 'de', 'fr']) },
    });
    await expectRefused(
      () =>
        herald.graphql(DraftTemplateVersionDocument, {
          input: { code: large, basedOn: 2, contents: contents(['it', 'es']) },
        }),
      { code: 'BAD_USER_INPUT', field: 'contents' },
    );
  });
});

test.each<[string, Partial<CreateTemplateInput>, string]>([
  ['its own language again', { contents: [{ locale: 'EN', email: email('x') }] }, 'contents.0.locale'],
  [
    'a syntax error in another language',
    { contents: [{ locale: 'de', email: email('{{ a') }] },
    'contents.de.email.subject',
  ],
  ['an unknown filter', { email: email('{{ a | shout }}') }, 'email.subject'],
  ['an undeclared variable', { email: email('{{ a }}'), variables: [{ name: 'b', type: 'LIST' }] }, 'email.subject'],
  ['a variable twice', { variables: ['a', 'a'].map((name) => ({ name, type: 'LIST' as const })) }, 'variables.1.name'],
  ['a reason of two lines', { reason: 'a\nb' }, 'reason'],
])('a template is not created with %s', async (_, fields, field) => {
  const input = { code: `bad/${randomUUID()}`, email: email('x'), ...fields };
  await expectRefused(() => herald.graphql(CreateTemplateDocument, { input }), { code: 'BAD_USER_INPUT', field });
});

describe('a template or version that there is not', () => {
  const codes = ['no/such', 'A', '', 'a\0', HALF, LONG, 'a/versions', "'; DROP TABLE template; --"];
  test.each(codes)('is not found: %j', async (wrong) => {
    const notFound = { code: 'NOT_FOUND', field: 'code' };
    const calls: (() => Promise<unknown>)[] = [
      () =>
        herald.graphql(DraftTemplateVersionDocument, {
          input: { code: wrong, contents: [{ locale: 'de', email: email('x') }] },
        }),
      () => herald.graphql(PublishTemplateDocument, { code: wrong, number: 1 }),
      () => herald.graphql(RollBackTemplateDocument, { code: wrong }),
      () => herald.graphql(UpdateTemplateDocument, { code: wrong, input: { sensitive: true } }),
      () => herald.graphql(PreviewTemplateDocument, { input: { code: wrong } }),
    ];
    for (const call of calls) await expectRefused(call, notFound);
    expect((await herald.graphql(TemplateDocument, { code: wrong })).template).toBeNull();
  });

  test.each([0, -1, 3, 2 ** 31 - 1])('is not found: number %i', async (number) => {
    const notFound = { code: 'NOT_FOUND', field: 'number' };
    await expectRefused(() => herald.graphql(PublishTemplateDocument, { code, number }), notFound);
    await expectRefused(() => herald.graphql(RollBackTemplateDocument, { code, number }), notFound);
    await expectRefused(() => herald.graphql(PreviewTemplateDocument, { input: { code, number } }), notFound);
    await expectRefused(() => herald.graphql(TemplateDiffDocument, { code, from: number, to: 1 }), {
      ...notFound,
      field: 'from',
    });
    await expectRefused(() => herald.graphql(TemplateDiffDocument, { code, from: 1, to: number }), {
      ...notFound,
      field: 'to',
    });
    expect((await herald.graphql(TemplateVersionDocument, { code, number })).template?.version).toBeNull();
  });

  test.each([2 ** 31, 1.5])('has no number such as %d', async (number) => {
    await expect(herald.graphql(PublishTemplateDocument, { code, number })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
    });
  });
});

test.each(['a\nb', LONG, HALF, ' '])('nothing is published for a reason such as %j', async (reason) => {
  const refused = { code: 'BAD_USER_INPUT', field: 'reason' };
  await expectRefused(() => herald.graphql(PublishTemplateDocument, { code, number: 2, reason }), refused);
  await expectRefused(() => herald.graphql(RollBackTemplateDocument, { code, number: 2, reason }), refused);
});

test.each<[UpdateTemplateInput, string, string]>([
  [{ defaultLocale: '?' }, 'BAD_USER_INPUT', 'defaultLocale'],
  [{ defaultLocale: '' }, 'BAD_USER_INPUT', 'defaultLocale'],
  [{ defaultLocale: LONG }, 'BAD_USER_INPUT', 'defaultLocale'],
  [{ defaultLocale: 'fr', sensitive: true }, 'UNPROCESSABLE', 'defaultLocale'],
])('settings are not changed to %j', async (input, refusal, field) => {
  await expectRefused(() => herald.graphql(UpdateTemplateDocument, { code, input }), { code: refusal, field });
});

test.each<[string, Partial<PreviewTemplateInput>, string, string]>([
  ['a language that is none', { locale: '?' }, 'BAD_USER_INPUT', 'locale'],
  ['a user of no language', { userLocale: MEGABYTE }, 'BAD_USER_INPUT', 'userLocale'],
  ['half a surrogate pair', { variables: { name: HALF } }, 'BAD_USER_INPUT', 'variables.name'],
  ['a NUL', { variables: { name: '\0' } }, 'BAD_USER_INPUT', 'variables.name'],
  ['a missing variable', {}, 'UNPROCESSABLE', 'variables.name'],
  ['a variable of the wrong kind', { variables: { name: { first: 'Ada' } } }, 'UNPROCESSABLE', 'variables.name'],
  ['a variable of 1 MB', { variables: { name: MEGABYTE } }, 'UNPROCESSABLE', 'variables'],
  ['a channel that it has not', { notificationType: 'PUSH', variables: { name: 'Ada' } }, 'UNPROCESSABLE', 'number'],
])('a preview with %s is refused', async (_, fields, refusal, field) => {
  await expectRefused(() => herald.graphql(PreviewTemplateDocument, { input: { code, ...fields } }), {
    code: refusal,
    field,
  });
});

describe('a page', () => {
  const lists: Record<
    string,
    (page: { first?: number; after?: string }, of?: string) => Promise<{ pageInfo: { endCursor?: string | null } }>
  > = {
    templates: async (page) => (await herald.graphql(TemplatesDocument, page)).templates,
    versions: async (page, of = code) => (await herald.graphql(versionPage, { code: of, ...page })).template.versions,
    publications: async (page, of = code) =>
      (await herald.graphql(TemplatePublicationsDocument, { code: of, ...page })).template!.publications,
  };
  const names = Object.keys(lists);

  test.each(names)('of %s has 1 to 200 rows', async (name) => {
    for (const first of [0, -1, 201])
      await expectRefused(() => lists[name]!({ first }), { code: 'BAD_USER_INPUT', field: 'first' });
    await lists[name]!({ first: 200 });
  });

  test.each(names)('of %s takes no cursor but its own', async (name) => {
    const [own, ...foreign] = [name, ...names.filter((another) => another !== name)];
    const cursors = await Promise.all(foreign.map(async (another) => (await lists[another]!({})).pageInfo.endCursor!));
    if (name !== 'templates') cursors.push((await lists[own]!({}, other)).pageInfo.endCursor!);
    cursors.push('', 'x', HALF, LONG, Buffer.from(`version ${code} 0`).toString('base64url'));
    for (const after of cursors)
      await expectRefused(() => lists[name]!({ after }), { code: 'BAD_USER_INPUT', field: 'after' });
  });

  test.each(['', 'a\0', HALF, 'x'.repeat(201)])('is not searched by %j', async (search) => {
    await expectRefused(() => herald.graphql(TemplatesDocument, { search }), {
      code: 'BAD_USER_INPUT',
      field: 'search',
    });
  });
});

describe('without the right', () => {
  test('nothing is written', async () => {
    const calls = [
      [PublishTemplateDocument, { code, number: 2 }],
      [RollBackTemplateDocument, { code }],
      [UpdateTemplateDocument, { code, input: { sensitive: true } }],
      [DraftTemplateVersionDocument, { input: { code, basedOn: 1 } }],
    ] as const;
    const before = await stored();
    for (const [document, variables] of calls) {
      const { body } = await herald.rest(
        'POST',
        `${herald.url}/graphql`,
        { query: document.toString(), variables },
        { authorization: `Bearer ${herald.workerApiKey}` },
      );
      expect(body.errors[0].extensions.code).toBe('FORBIDDEN');
    }
    expect(await stored()).toEqual(before);
  });
});
