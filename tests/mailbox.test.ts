import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTransport, type SendMailOptions } from 'nodemailer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createPushMessages } from '../embedded/mailbox/push-messages.ts';
import { type Mailbox, startMailbox } from '../embedded/mailbox/start-mailbox.ts';

let folder: string;
let mailbox: Mailbox;

describe('mailbox', () => {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'herald-mailbox-'));
    mailbox = await start({ dataDir: folder });
  });
  afterEach(async () => {
    await mailbox.stop();
    await rm(folder, { recursive: true });
  });

  it("lists mails newest first, in Mailpit's fields, UTF-8 and all", async () => {
    await send({ subject: 'first' });
    await send({
      from: '"Zoë, of Herald" <no-reply@herald.example>',
      to: ['José Ñandú <jose@example.com>', 'b@example.com'],
      cc: '注文 <c@example.com>',
      bcc: 'hidden@example.com',
      replyTo: 'help@herald.example',
      subject: 'Ihre Bestellung – 注文 ✓',
      text: 'Schöne\n\n  Grüße',
      html: '<p>Grüße</p>',
      messageId: '<n1@herald.example>',
      headers: { 'X-Herald-Notification': '0199' },
      attachments: [{ filename: 'Rechnung ä.txt', content: 'abc' }],
    });
    const list = await getMails();
    expect(list).toMatchObject({ total: 2, messages_count: 2, count: 2, start: 0 });
    const [newest, oldest] = list.messages;
    expect(oldest?.Subject).toBe('first');
    expect(newest).toMatchObject({
      MessageID: 'n1@herald.example',
      From: { Name: 'Zoë, of Herald', Address: 'no-reply@herald.example' },
      To: [
        { Name: 'José Ñandú', Address: 'jose@example.com' },
        { Name: '', Address: 'b@example.com' },
      ],
      Cc: [{ Name: '注文', Address: 'c@example.com' }],
      Bcc: [{ Name: '', Address: 'hidden@example.com' }],
      Subject: 'Ihre Bestellung – 注文 ✓',
      Snippet: 'Schöne Grüße',
      Attachments: 1,
    });
    expect(Math.abs(Date.parse(newest?.Created ?? '') - Date.now())).toBeLessThan(10_000);

    const message = await get(`/api/v1/message/${newest?.ID}`);
    expect(message).toMatchObject({
      ID: newest?.ID,
      ReplyTo: [{ Name: '', Address: 'help@herald.example' }],
      Text: 'Schöne\n\n  Grüße',
      HTML: '<p>Grüße</p>',
      Inline: [],
      Attachments: [{ FileName: 'Rechnung ä.txt', ContentType: 'text/plain', Size: 3 }],
    });
    expect(newest?.Size).toBe(
      (await (await fetch(`${mailbox.url}/api/v1/message/${newest?.ID}/raw`)).arrayBuffer()).byteLength,
    );
    expect(await get(`/api/v1/message/${newest?.ID}/headers`)).toMatchObject({
      'X-Herald-Notification': ['0199'],
      'Delivered-To': expect.arrayContaining(['hidden@example.com']),
    });
    expect((await fetch(`${mailbox.url}/api/v1/message/none`)).status).toBe(404);
  });

  it('pages, and names a start or limit that is wrong', async () => {
    for (const subject of ['1', '2', '3', '4', '5']) await send({ subject });
    const subjects = async (query: string) => (await getMails(query)).messages.map((mail) => mail.Subject);
    expect(await subjects('?limit=2')).toEqual(['5', '4']);
    expect(await subjects('?start=3&limit=50')).toEqual(['2', '1']);
    expect(await subjects('?start=9')).toEqual([]);
    for (const query of [
      'limit=0',
      'limit=1001',
      'limit=x',
      'limit=',
      'limit=-1',
      'limit=1.5',
      'limit=1&limit=2',
      'start=-1',
      'start=x',
    ]) {
      for (const path of ['/api/v1/messages', '/api/v1/push']) {
        const response = await fetch(`${mailbox.url}${path}?${query}`);
        expect([query, response.status]).toEqual([query, 400]);
        expect(await response.json()).toEqual({
          Error: expect.stringContaining(`${query.split('=')[0]} must be a whole number`),
        });
      }
    }
  });

  it('keeps the newest 1,000', async () => {
    const transport = createTransport(`${mailbox.smtpUrl}?pool=true&maxMessages=10000`);
    await Promise.all(
      Array.from({ length: 1_003 }, () => transport.sendMail({ from: 'a@b.example', to: 'c@d.example', text: 'x' })),
    );
    transport.close();
    expect((await getMails('?limit=1000')).messages).toHaveLength(1_000);
    expect(await readdir(folder)).toHaveLength(1_000);
  });

  it('deletes the named mails, or all', async () => {
    for (const subject of ['1', '2', '3']) await send({ subject });
    const { messages } = await getMails();
    await remove('/api/v1/messages', { IDs: [messages[1]?.ID] });
    expect((await getMails()).messages.map((mail) => mail.ID)).toEqual([messages[0]?.ID, messages[2]?.ID]);
    expect(await readdir(folder)).toHaveLength(2);
    expect((await remove('/api/v1/messages', { IDs: 'x' })).status).toBe(400);
    expect(await (await remove('/api/v1/messages')).text()).toBe('ok');
    expect((await getMails()).total).toBe(0);
    expect(await readdir(folder)).toEqual([]);
  });

  it('keeps its mails over a restart, and clears away a half-written one', async () => {
    await send({ subject: 'kept', bcc: 'hidden@example.com' });
    const before = await getMails();
    await mailbox.stop();
    await writeFile(join(folder, `${before.messages[0]?.ID}.eml.part`), 'From: ');
    await writeFile(join(folder, 'notes.txt'), 'not ours');
    mailbox = await start({ dataDir: folder });
    expect(await getMails()).toEqual(before);
    expect((await readdir(folder)).sort()).toEqual([`${before.messages[0]?.ID}.eml`, 'notes.txt'].sort());
  });

  it('takes raw UTF-8 headers, a mail without a header, and refuses one that is too large', async () => {
    await converse(['Subject: Grüße an José', 'From: Zoë <z@example.com>', '', 'Hallo'], 'SMTPUTF8');
    await converse(['', 'nothing but text']);
    const [bare, utf8] = (await getMails()).messages;
    expect(utf8).toMatchObject({ Subject: 'Grüße an José', From: { Name: 'Zoë', Address: 'z@example.com' } });
    expect(await get(`/api/v1/message/${utf8?.ID}/headers`)).toMatchObject({ Subject: ['Grüße an José'] });
    expect(bare).toMatchObject({
      Subject: '',
      From: { Name: '', Address: 'a@b.example' },
      To: [],
      Bcc: [{ Name: '', Address: 'c@d.example' }],
    });
    await expect(send({ text: 'x\n'.repeat(5.5 * 1024 * 1024) })).rejects.toMatchObject({ responseCode: 552 });
    expect((await getMails()).total).toBe(2);
  });

  it('records push messages, from this process or another', async () => {
    const pushMessages = await createPushMessages();
    await mailbox.stop();
    mailbox = await start({ pushMessages });
    await pushMessages.add({ notificationId: 'n1', tokens: ['t1'], title: 'Here', body: 'b' });
    const answer = await post('/api/v1/push', {
      notificationId: 'n2',
      tokens: ['t1', 't2'],
      title: 'Title',
      body: 'Body',
      link: 'https://x.example',
      data: { a: 1 },
    });
    expect(answer.status).toBe(201);
    expect(await get('/api/v1/push?limit=1')).toEqual({
      total: 2,
      messages: [
        {
          ...z.object({ ID: z.string() }).parse(await answer.json()),
          NotificationID: 'n2',
          Tokens: ['t1', 't2'],
          Title: 'Title',
          Body: 'Body',
          Image: null,
          Link: 'https://x.example',
          Data: { a: 1 },
          Created: expect.any(String),
        },
      ],
    });
    const refused = await post('/api/v1/push', { title: 'x' });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toEqual({ Error: expect.stringContaining('notificationId') });
    await remove('/api/v1/push');
    expect(await get('/api/v1/push')).toEqual({ total: 0, messages: [] });
  });

  it('keeps its push messages over a restart, in their order, and clears away a half-written one', async () => {
    const pushDir = join(folder, 'push');
    const restart = async () => {
      await mailbox.stop();
      mailbox = await start({ pushDir });
    };
    await restart();
    for (const title of ['first', 'second']) {
      await post('/api/v1/push', { notificationId: 'n', tokens: ['t'], title, body: 'b', data: { a: [1] } });
    }
    const before = await get('/api/v1/push');
    expect(before).toMatchObject({ total: 2, messages: [{ Title: 'second', Data: { a: [1] } }, { Title: 'first' }] });
    await writeFile(join(pushDir, 'half.json.part'), '{"ID":');
    await writeFile(join(pushDir, 'damaged.json'), '');
    await restart();
    expect(await get('/api/v1/push')).toEqual(before);
    expect(await readdir(pushDir)).toHaveLength(3);
    await remove('/api/v1/push');
    await restart();
    expect(await get('/api/v1/push')).toEqual({ total: 0, messages: [] });
  });

  it('answers to names of this machine only', async () => {
    const { port } = new URL(mailbox.url);
    expect(await statusWith({ host: 'localhost' })).toBe(200);
    expect(await statusWith({ host: `[::1]:${port}` })).toBe(200);
    expect(await statusWith({ host: 'rebound.example' })).toBe(403);
    expect(await statusWith({ host: `rebound.example:${port}` })).toBe(403);
    expect(await statusWith({ host: 'localhost.rebound.example' })).toBe(403);
    expect(await statusWith({ origin: 'https://elsewhere.example' })).toBe(403);
    expect(await statusWith({ origin: 'null' })).toBe(403);
    expect(await statusWith({ origin: mailbox.url })).toBe(200);
    const asForm = await fetch(`${mailbox.url}/api/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: '{}',
    });
    expect(asForm.status).toBe(415);
  });

  it('serves a page that runs its own script only, and mails that run none', async () => {
    const page = await fetch(mailbox.url);
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'; script-src 'sha256-[\w+/=]+';/);
    expect(page.headers.has('access-control-allow-origin')).toBe(false);
    expect(await page.text()).not.toMatch(/(src|href)="(https?:)?\/\//);
    const image = { filename: 'logo.png', cid: 'logo', content: 'png', contentDisposition: 'inline' as const };
    await send({ html: '<img src="cid:logo"><script>alert(1)</script>', attachments: [image] });
    const [mail] = (await getMails()).messages;
    const view = await fetch(`${mailbox.url}/view/${mail?.ID}.html`);
    expect(view.headers.get('content-security-policy')).toMatch(/^sandbox;/);
    expect(await view.text()).toContain('<img src="data:image/png;base64,');
    expect(await get(`/api/v1/message/${mail?.ID}`)).toMatchObject({
      HTML: expect.stringContaining('cid:logo'),
      Inline: [{ ContentID: 'logo' }],
      Attachments: [],
    });
  });

  it('says which port is taken, and leaves none open', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = taken.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    await expect(start({ smtpPort: address.port })).rejects.toThrow(
      `Port ${address.port} is taken: stop the program that listens there, or set SMTP_PORT`,
    );
    await expect(start({ httpPort: address.port })).rejects.toThrow(
      `Port ${address.port} is taken: stop the program that listens there, or set MAILBOX_PORT`,
    );
    taken.close();
  });

  it('stops at once though a sender holds its connection open', async () => {
    const transport = createTransport(`${mailbox.smtpUrl}?pool=true`);
    await transport.sendMail({ from: 'a@b.example', to: 'c@d.example', text: 'x' });
    const before = performance.now();
    await mailbox.stop();
    expect(performance.now() - before).toBeLessThan(250);
    await expect(fetch(mailbox.url)).rejects.toThrow();
    transport.close();
    mailbox = await start({});
  });
});

const start = (options: Partial<Parameters<typeof startMailbox>[0]>): Promise<Mailbox> =>
  startMailbox({ smtpPort: 0, httpPort: 0, host: '127.0.0.1', log: () => undefined, ...options });

async function send(mail: SendMailOptions): Promise<void> {
  const transport = createTransport(mailbox.smtpUrl);
  await transport.sendMail({ from: 'a@b.example', to: 'c@d.example', text: 'x', ...mail });
  transport.close();
}

/** Speaks SMTP by hand, for mails that a library would not send. */
async function converse(lines: string[], mailParameter = ''): Promise<void> {
  const { hostname, port } = new URL(mailbox.smtpUrl);
  const socket = connect(Number(port), hostname).setEncoding('utf8');
  const commands = [
    'EHLO x',
    `MAIL FROM:<a@b.example> ${mailParameter}`.trim(),
    'RCPT TO:<c@d.example>',
    'DATA',
    [...lines, '.'].join('\r\n'),
    'QUIT',
  ];
  for (const command of commands) {
    const [reply] = await once(socket, 'data');
    expect(String(reply)).toMatch(/^[23]/);
    socket.write(`${command}\r\n`);
  }
  await once(socket, 'close');
}

const get = async (path: string): Promise<unknown> => (await fetch(`${mailbox.url}${path}`)).json();

const getMails = async (query = '') => mailList.parse(await get(`/api/v1/messages${query}`));

const mailList = z.looseObject({
  total: z.number(),
  messages: z.array(z.looseObject({ ID: z.string(), Subject: z.string(), Created: z.string(), Size: z.number() })),
});

const post = (path: string, body: unknown): Promise<Response> =>
  fetch(`${mailbox.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

const remove = (path: string, body?: unknown): Promise<Response> =>
  fetch(`${mailbox.url}${path}`, {
    method: 'DELETE',
    ...(body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });

/** fetch sets Host itself. */
async function statusWith(headers: Record<string, string>): Promise<number | undefined> {
  const asked = request(`${mailbox.url}/api/v1/messages`, { headers, agent: false });
  asked.end();
  const [response] = await once(asked, 'response');
  response.resume();
  return response.statusCode;
}
