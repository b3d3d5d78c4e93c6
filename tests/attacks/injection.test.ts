import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '../../client/client.ts';
import { CreateTemplateDocument } from '../../client/generated/operations.ts';
import { givenSent, givenTemplate, givenUser, mailsOf } from '../given.ts';
import { startHerald, type Herald } from '../start.ts';

/** What somebody puts into a name, a subject or a variable to become more than text in the mail that arrives. */

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded' });
});
afterAll(() => herald?.stop());

const HEADERS = [
  'Ada\r\nBcc: eve@example.com',
  'Ada\nBcc: eve@example.com',
  'Ada\rBcc: eve@example.com',
  'Ada\u2028Bcc: eve@example.com',
  'Ada\u0085Bcc: eve@example.com',
  'Ada\r\n\r\n<h1>owned</h1>',
  'Ada\r\nContent-Type: text/plain\r\n\r\nowned',
  'Ada\r\n.\r\nMAIL FROM:<eve@example.com>',
  '=?utf-8?q?=0D=0ABcc:_eve=40example.com?=',
  'eve@example.com>, <ada',
];
const MARKUP = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' onmouseover='alert(1)",
  '<a href="javascript:alert(1)">x</a>',
  '</p></body><iframe src="//evil.example">',
  '<!-- --><svg/onload=alert(1)>',
  '&lt;script&gt;',
  '{{ name }}',
  '{% assign a = 1 %}{{ "x" | upcase }}',
];

/** The mail as it came over SMTP. */
async function rawOf(id: string): Promise<string> {
  const [mail, ...more] = await mailsOf(herald, id);
  expect(more).toEqual([]);
  return herald.rawMail(mail?.ID ?? '');
}
const headersOf = (raw: string) =>
  (raw.split('\r\n\r\n', 1)[0] ?? '')
    .split(/\r\n(?![ \t])/)
    .map((line) => line.slice(0, line.indexOf(':')).toLowerCase());

/** Of a mail with nothing in it that anybody chose. */
let honest: string[];
async function expectHonest(id: string) {
  await herald.drained();
  const raw = await rawOf(id);
  expect(headersOf(raw)).toEqual(honest);
  const [mail] = await mailsOf(herald, id);
  expect(mail?.To).toHaveLength(1);
  expect(
    await herald.mails().then((mails) => mails.filter(({ To }) => To.some(({ Address }) => /eve|owned/.test(Address)))),
  ).toEqual([]);
  return { raw, mail };
}

beforeAll(async () => {
  const id = await givenSent(herald, await givenUser(herald), await givenTemplate(herald, TEXTS));
  await herald.drained();
  honest = headersOf(await rawOf(id));
  expect(honest).toContain('subject');
});

const TEXTS = {
  email: { subject: 'Hello {{ name }}', html: '<p title="{{ name }}">Hello {{ name }}</p>', text: 'Hello {{ name }}' },
};

test.each(HEADERS)('a variable in the subject and the text is no header and no command: %j', async (name) => {
  const id = await givenSent(herald, await givenUser(herald), await givenTemplate(herald, TEXTS), {
    variables: { name },
  });
  const { mail } = await expectHonest(id);
  expect(mail?.Subject.startsWith('Hello ')).toBe(true);
});

test.each(HEADERS)("a user's name is refused, or is no more than a name: %j", async (name) => {
  const made = await herald.rest('POST', `${herald.urlOf('user')}/api/v1/users/`, {
    name,
    email: `${randomUUID()}@example.com`,
    password: 'correct horse',
    preferences: { email: true, push: true },
  });
  if (made.status !== 201) {
    expect(made).toMatchObject({ status: 400, body: { errors: [{ field: 'name' }] } });
    return;
  }
  await expectHonest(await givenSent(herald, made.body.id, await givenTemplate(herald, TEXTS)));
});

test.each(HEADERS)('a subject is refused, or is one line: %j', async (subject) => {
  const code = `attack/${randomUUID()}`;
  const client = createClient({ url: herald.url, apiKey: herald.adminApiKey });
  const { errors } = await client.requestRaw(CreateTemplateDocument, {
    input: { code, email: { subject, html: '<p>Hello</p>' } },
  });
  if (errors.length > 0) {
    expect(errors[0]).toMatchObject({ code: 'BAD_USER_INPUT', field: 'email.subject' });
    return;
  }
  const template = await givenTemplate(herald, { email: { subject, html: '<p>Hello</p>', text: 'Hello' } });
  await expectHonest(await givenSent(herald, await givenUser(herald), template));
});

test.each(MARKUP)('a variable is text in a page, whatever is in it: %j', async (name) => {
  const id = await givenSent(herald, await givenUser(herald), await givenTemplate(herald, TEXTS), {
    variables: { name },
  });
  const { mail } = await expectHonest(id);
  const html = mail?.HTML ?? '';
  expect(html.match(/<(?!\/?p[ >]|\/?(html|head|body|meta)\b)/g)).toBeNull();
  expect(html.match(/<p /g)).toHaveLength(1);
  expect(mail?.Text.trim()).toBe(`Hello ${name}`);
});
