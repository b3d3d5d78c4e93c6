import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SuppressionsDocument, TemplateDocument } from '../client/generated/operations.ts';
import type { Method } from './doors.ts';
import { givenSent, givenTemplate, givenUser, mailsOf, readNotification } from './given.ts';
import { expectProblem } from './problem.ts';
import { startHerald, type Herald } from './start.ts';
import { until } from './until.ts';

let herald: Herald;
let news: string;
let password: string;
beforeAll(async () => {
  herald = await startHerald();
  const html = '<h1>News, {{ name }}</h1><p>All <b>that</b> is new.</p><a href="{{ unsubscribe_url }}">Unsubscribe</a>';
  [news, password] = await Promise.all([
    givenTemplate(herald, { unsubscribable: true, email: { subject: 'News', html } }),
    givenTemplate(herald),
  ]);
});
afterAll(() => herald?.stop());

/** Sends, and says what became of it: SENT or the reason. */
async function send(user: string, code: string): Promise<{ id: string; outcome: string }> {
  const id = await givenSent(herald, user, code);
  const outcome = await until(async () => {
    const { status, reason } = await readNotification(herald, id);
    return status !== 'pending' && (status === 'delivered' ? 'SENT' : reason);
  });
  return { id, outcome };
}
const messageOf = async (id: string) =>
  (await herald.sql('notification', 'SELECT message FROM content WHERE notification_id = $1', [id]))[0]?.['message'];
async function givenLink() {
  const user = await givenUser(herald);
  const { id } = await send(user, news);
  const { unsubscribeUrl } = await messageOf(id);
  return { user, id, url: unsubscribeUrl as string };
}
/** As a mail program or a browser, without a key. */
const open = (method: Method, url: string, body?: string, type?: string) =>
  herald.rest(method, url, body, { authorization: undefined, 'content-type': type });
const FORM = 'application/x-www-form-urlencoded';
const suppressionsOf = async (user: string) =>
  (await herald.graphql(SuppressionsDocument, { userId: user })).suppressions.edges.map(({ node }) => node);

describe('a mail of an unsubscribable template', () => {
  test('has the link, also as a variable, and a text made from its HTML', async () => {
    const { id, url } = await givenLink();
    expect(url).toMatch(new RegExp(`^${herald.url}/unsubscribe/[\\w-]+$`));
    const { text } = await messageOf(id);
    expect(text).toBe(`News, Ada\n\nAll that is new.\n\nUnsubscribe\n[${url}]`);
    const [mail] = await mailsOf(herald, id);
    expect(mail?.HTML).toContain(`href="${url}"`);
    expect(mail?.Text).toContain(url);
    const { template } = await herald.graphql(TemplateDocument, { code: news });
    expect(template).toMatchObject({ code: news, unsubscribable: true, sensitive: false });
  });

  test('has the same link each time, and other users and templates have others', async () => {
    const { user, url } = await givenLink();
    const again = await messageOf((await send(user, news)).id);
    expect(again.unsubscribeUrl).toBe(url);
    const template = await givenTemplate(herald, { unsubscribable: true });
    const others = [(await givenLink()).url, (await messageOf((await send(user, template)).id)).unsubscribeUrl];
    expect(new Set([url, ...others]).size).toBe(3);
    expect(Buffer.from(url.split('/').at(-1) ?? '', 'base64url').toString('latin1')).not.toContain(news);
  });

  test('has nothing but our link in its variable', async () => {
    const id = await givenSent(herald, await givenUser(herald), news, {
      variables: { name: 'Ada', unsubscribe_url: 'https://evil.example' },
    });
    expect(JSON.stringify(await messageOf(id))).not.toContain('evil');
  });

  test('is the exception: by default there is no link and no such variable', async () => {
    const user = await givenUser(herald);
    const { id } = await send(user, password);
    expect(await messageOf(id)).toMatchObject({ unsubscribeUrl: null, text: 'Hello Ada' });
    const code = await givenTemplate(herald, { email: { subject: 's', html: '{{ unsubscribe_url }}' } });
    await expect(send(user, code)).rejects.toThrow(/422.*unsubscribe_url/);
  });
});

describe('the page', () => {
  test('asks and changes nothing, however often it is looked at', async () => {
    const { user, url } = await givenLink();
    for (const method of ['GET', 'HEAD'] as Method[]) {
      const { status, headers, body } = await open(method, url);
      expect(status).toBe(200);
      expect(headers['content-type']).toBe('text/html; charset=utf-8');
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-/);
      expect(headers).toMatchObject({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
      if (method === 'GET') {
        expect(body).toContain('<form method="post">');
        expect(body).toContain('name="viewport"');
        expect(body).not.toMatch(/<script|https?:\/\//);
      }
    }
    expect(await suppressionsOf(user)).toEqual([]);
  });

  test.each<[string, string | undefined, string | undefined]>([
    ['its button', '', FORM],
    ['one click in a mail program (RFC 8058)', 'List-Unsubscribe=One-Click', FORM],
    [
      'one click, as multipart',
      '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n',
      'multipart/form-data; boundary=b',
    ],
    ['a POST of nothing', undefined, undefined],
  ])('acts by %s, once, for that user and template', async (_, body, type) => {
    const { user, url } = await givenLink();
    for (let twice = 0; twice < 2; twice += 1) {
      const answer = await open('POST', url, body, type);
      expect(answer.status).toBe(200);
      expect(answer.body).toContain('You are unsubscribed');
    }
    expect(await suppressionsOf(user)).toMatchObject([
      { notificationType: 'EMAIL', address: null, templateCode: news, createdBy: 'recipient' },
    ]);
    expect((await send(user, news)).outcome).toBe('SUPPRESSED');
    expect((await send(user, password)).outcome).toBe('SENT');
  });

  test('does not act on a link that is damaged or made up', async () => {
    const { user, url } = await givenLink();
    const token = url.split('/').at(-1) ?? '';
    const flipped = Buffer.from(token, 'base64url');
    flipped[flipped.length - 20] = (flipped[flipped.length - 20] ?? 0) ^ 1;
    const bad = [
      flipped.toString('base64url'),
      token.slice(0, -4),
      `${token.slice(4)}AAAA`,
      'x',
      '%00',
      '<script>alert(1)</script>'.replace('/', ''),
      Buffer.from(`${user} ${news}`).toString('base64url'),
      randomUUID().repeat(10),
    ];
    for (const one of bad) {
      for (const method of ['GET', 'POST'] as const) {
        const { status, body } = await open(method, `${herald.url}/unsubscribe/${encodeURI(one)}`);
        expect({ one, status }).toEqual({ one, status: 404 });
        expect(body).toContain('This link does not work');
        expect(body).not.toContain('alert');
      }
    }
    expect(await suppressionsOf(user)).toEqual([]);
  });

  test('takes forms only, and small ones', async () => {
    const { user, url } = await givenLink();
    expectProblem(await open('POST', url, '{}', 'application/json'), 415);
    expectProblem(await open('POST', url, 'x'.repeat(17 * 1024), FORM), 413);
    expect(await suppressionsOf(user)).toEqual([]);
  });

  test('says so when it can’t act now, and works later', async () => {
    const { user, url } = await givenLink();
    await herald.stopPart('notification');
    try {
      const { status, headers, body } = await open('POST', url);
      expect({ status, retryAfter: headers['retry-after'] }).toEqual({ status: 503, retryAfter: '30' });
      expect(body).toContain('try again');
    } finally {
      await herald.startPart('notification');
    }
    expect((await open('POST', url)).status).toBe(200);
    expect(await suppressionsOf(user)).toHaveLength(1);
  });
});
