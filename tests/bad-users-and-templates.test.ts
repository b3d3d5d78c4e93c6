import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';

const USERS = '/api/v1/users/';
const TEMPLATES = '/api/v1/templates/';
const HALF = '\ud800'; // of a surrogate pair

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ parts: ['user', 'template'] });
});
afterAll(() => herald?.stop());

describe('users', () => {
  const user = (fields: object = {}) => ({
    name: 'Ada Lovelace',
    email: `${randomUUID()}@example.com`,
    preferences: { email: true, push: false },
    password: 'correct horse',
    ...fields,
  });
  const countUsers = () => herald.sql('user', 'SELECT count(*) FROM "user"');

  test('a user is read back with exactly the fields of the specification', async () => {
    const body = user();
    const created = await herald.rest('POST', USERS, body);
    const expected = {
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: body.name,
      email: body.email,
      push_token: null,
      preferences: { email: true, push: false },
    };
    expect(created).toMatchObject({ status: 201 });
    expect(created.body).toEqual(expected);
    for (const path of [`${USERS}${created.body.id}`, `${USERS}${created.body.id}/`]) {
      const read = await herald.rest('GET', path);
      expect(read.status).toBe(200);
      expect(read.body).toEqual(expected);
    }
    expect((await herald.rest('POST', USERS, user({ push_token: 'device-1' }))).body.push_token).toBe('device-1');
  });

  test.each([
    ['an address without a domain', { email: 'ada' }, 'email'],
    ['an address with a line break', { email: 'ada@example.com\r\nBcc: eve@example.com' }, 'email'],
    ['half a character in the address', { email: `ada${HALF}@example.com` }, 'email'],
    ['a password of 7 characters', { password: '1234567' }, 'password'],
    ['half a character in the password', { password: `correct${HALF}horse` }, 'password'],
    ['no password', { password: undefined }, 'password'],
    ['a name that is a number', { name: 7 }, 'name'],
    ['half a character in the name', { name: HALF }, 'name'],
    ['a line break in the name', { name: 'Ada\nBcc: eve@example.com' }, 'name'],
    ['an empty push token', { push_token: '' }, 'push_token'],
    ['a locale that is none', { locale: '?' }, 'locale'],
    ['half of the preferences', { preferences: { email: true } }, 'preferences.push'],
    ['an unknown channel', { preferences: { email: true, push: true, sms: true } }, 'preferences.sms'],
    ['an unknown field', { colour: 'red' }, 'colour'],
  ])('%s is refused', async (_, fields, field) => {
    const before = await countUsers();
    expectProblem(await herald.rest('POST', USERS, user(fields)), 400, [field]);
    expect(await countUsers()).toEqual(before);
  });

  test('a body over 100 KiB is refused', async () => {
    expectProblem(await herald.rest('POST', USERS, user({ name: 'x'.repeat(100 * 1024) })), 413);
  });

  test('an address that somebody has is a conflict, whatever its case', async () => {
    const body = user();
    await herald.rest('POST', USERS, body);
    const before = await countUsers();
    expectProblem(await herald.rest('POST', USERS, { ...body, email: body.email.toUpperCase() }), 409, ['email']);
    expect(await countUsers()).toEqual(before);
  });

  test('nobody there is 404', async () => {
    expectProblem(await herald.rest('GET', USERS + randomUUID()), 404);
    expectProblem(await herald.rest('GET', `${USERS}ada`), 404);
    const off = { email: false, push: false };
    expectProblem(await herald.rest('PUT', `${USERS}${randomUUID()}/preferences`, off), 404, ['user_id']);
  });
});

describe('templates', () => {
  const template = (fields: object = {}) => ({
    code: `shop/${randomUUID()}`,
    email: { subject: 'Hello', html: '<p>Hello</p>' },
    ...fields,
  });
  const countTemplates = () => herald.sql('template', 'SELECT count(*) FROM template');

  test('a code with slashes is found raw and as %2F, with a version and a language', async () => {
    const code = `shop/orders/${randomUUID()}`;
    const expected = { code, locale: 'en', email: { subject: 'Hello', html: '<p>Hello</p>', text: null }, push: null };
    expect(await herald.rest('POST', TEMPLATES, template({ code }))).toMatchObject({ status: 201, body: expected });
    const escaped = code.replaceAll('/', '%2F');
    const paths = [
      code,
      `${code}/`,
      escaped,
      `${code}?version=1&locale=en`,
      `${escaped}?version=1`,
      `${code}?locale=en`,
    ];
    for (const path of paths) {
      const read = await herald.rest('GET', TEMPLATES + path);
      expect({ path, status: read.status, body: read.body }).toEqual({ path, status: 200, body: expected });
    }
    for (const path of [`${code}?version=2`, `${code}?locale=de`, 'no/such', `${code}/more`]) {
      expectProblem(await herald.rest('GET', TEMPLATES + path), 404);
    }
  });

  test.each([
    ['?version=0', 'version'],
    ['?version=one', 'version'],
    ['?colour=red', 'colour'],
  ])('reading with %s is refused', async (query, field) => {
    expectProblem(await herald.rest('GET', `${TEMPLATES}welcome${query}`), 400, [field]);
  });

  test('a path that is not well encoded is refused like every other fault', async () => {
    expectProblem(await herald.rest('GET', `${TEMPLATES}%E0%A4%A`), 400);
  });

  test.each([
    ['an upper-case code', { code: 'Welcome' }, 'code'],
    ['an empty segment', { code: 'a//b' }, 'code'],
    ['a slash at the end', { code: 'a/' }, 'code'],
    ['a reserved last segment', { code: 'a/versions' }, 'code'],
    ['a code of 201 characters', { code: 'a'.repeat(201) }, 'code'],
    ['a locale that is none', { locale: '?' }, 'locale'],
    ['no channel', { email: null }, 'email'],
    ['no html', { email: { subject: 's' } }, 'email.html'],
    ['an unknown part', { email: { subject: 's', html: 'h', footer: 'f' } }, 'email.footer'],
    ['half a character in a subject', { email: { subject: HALF, html: 'h' } }, 'email.subject'],
    ['half a character in push data', { push: { title: 't', body: 'b', data: { a: HALF } } }, 'push.data'],
    ['an unknown field', { colour: 'red' }, 'colour'],
  ])('%s is refused', async (_, fields, field) => {
    const before = await countTemplates();
    expectProblem(await herald.rest('POST', TEMPLATES, template(fields)), 400, [field]);
    expect(await countTemplates()).toEqual(before);
  });

  test.each([
    ['an open output', '{{ name', 'line:1, col:1'],
    ['an empty condition', 'first\n  {% if %}x{% endif %}', 'line:2, col:8'],
    ['an unknown tag', 'a\nb {% shout %}', 'line:2, col:3'],
    ['an unknown filter', '{{ name | shout }}', 'line:1, col:1'],
  ])('Liquid with %s is refused with line and column', async (_, html, place) => {
    const answer = await herald.rest('POST', TEMPLATES, template({ email: { subject: 's', html } }));
    expectProblem(answer, 400, ['email.html']);
    expect(answer.body.errors[0].message).toContain(place);
  });

  test('texts of 256 KiB are taken, a body over 1 MiB is refused', async () => {
    const text = 'x'.repeat(256 * 1024);
    const large = template({ email: { subject: 'Hello', html: text, text }, push: { title: 'Hello', body: text } });
    expect(await herald.rest('POST', TEMPLATES, large)).toMatchObject({ status: 201 });
    expectProblem(
      await herald.rest('POST', TEMPLATES, template({ email: { subject: 's', html: text.repeat(4) } })),
      413,
    );
  });

  test('a code that is taken is a conflict', async () => {
    const body = template();
    await herald.rest('POST', TEMPLATES, body);
    expectProblem(await herald.rest('POST', TEMPLATES, body), 409, ['code']);
  });
});
