import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fastify, type FastifyInstance, type FastifyReply } from 'fastify';
import { z } from 'zod';
import { toListenError, toUrl, toUrlHost } from './listening.ts';
import type { MailStore, StoredMail } from './mail-store.ts';
import { renderHtml, viewMail } from './mail-view.ts';
import { pushMessage, type PushMessages } from './push-messages.ts';

type Options = { port: number; host: string; mails: MailStore; pushes: PushMessages; log: (line: string) => void };

/** Serves the mailbox's page and API. It has no login, so it answers to names of this machine only. */
export async function startHttp({
  port,
  host,
  mails,
  pushes,
  log,
}: Options): Promise<{ url: string; stop(): Promise<void> }> {
  const app = fastify({ forceCloseConnections: true });
  acceptJsonOnly(app);
  refuseStrangers(app, host);
  answerErrors(app, log);
  await servePage(app);
  serveMails(app, mails);
  servePushes(app, pushes);
  await app.listen({ port, host }).catch((error: unknown) => {
    throw toListenError(error, port, 'MAILBOX_PORT');
  });
  return { url: toUrl('http', host, app.server), stop: () => app.close() };
}

function acceptJsonOnly(app: FastifyInstance): void {
  // A form or text/plain can be sent by any web page without asking us first; JSON can't
  app.removeAllContentTypeParsers();
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    if (body === '') done(null, undefined);
    else void parseJson(request, body, done);
  });
}

/** Against DNS rebinding and foreign pages: the Host, and the Origin where there is one, must be this machine's. */
function refuseStrangers(app: FastifyInstance, host: string): void {
  const ownNames = new Set(['localhost', '127.0.0.1', '[::1]', toUrlHost(host)]);
  const isOwn = (url: string): boolean => ownNames.has(URL.parse(url)?.hostname ?? '');
  app.addHook('onRequest', async (request, reply) => {
    void reply.headers({
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    });
    const { host: requestHost = '', origin } = request.headers;
    if (isOwn(`http://${requestHost}`) && (origin === undefined || isOwn(origin))) return;
    await reply
      .code(403)
      .send({ Error: 'The mailbox answers to localhost only: open it as http://localhost or http://127.0.0.1.' });
  });
}

function answerErrors(app: FastifyInstance, log: (line: string) => void): void {
  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send({ Error: `There is no ${request.method} ${request.url}` }),
  );
  app.setErrorHandler((error: unknown, request, reply) => {
    if (error instanceof z.ZodError) {
      return reply
        .code(400)
        .send({ Error: error.issues.map(({ path, message }) => `${path.join('.')} ${message}`.trim()).join('; ') });
    }
    const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
    const message = error instanceof Error ? error.message : String(error);
    if (status >= 500) log(`mailbox: ${request.method} ${request.url}: ${message}`);
    return reply.code(status).send({ Error: message });
  });
}

async function servePage(app: FastifyInstance): Promise<void> {
  const page = await readFile(new URL('./page.html', import.meta.url), 'utf8');
  const script = /<script>([^]*)<\/script>/.exec(page)?.[1] ?? '';
  const policy = [
    "default-src 'none'",
    `script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`,
    "style-src 'unsafe-inline'", // the mails bring theirs: a frame made of srcdoc is bound by this policy too
    'img-src data: http: https:',
    'font-src data: https:',
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  app.get('/', (_request, reply) =>
    reply.type('text/html; charset=utf-8').header('content-security-policy', policy).send(page),
  );
}

/** The part of Mailpit's API that people script against: https://mailpit.axllent.org/docs/api-v1/ */
function serveMails(app: FastifyInstance, mails: MailStore): void {
  app.get('/api/v1/messages', async (request) => {
    const { start, limit } = pageQuery.parse(request.query);
    const messages = await Promise.all(mails.list(start, limit).map(async (mail) => (await viewMail(mail)).summary));
    return { total: mails.count(), messages_count: mails.count(), count: messages.length, start, messages };
  });
  app.delete('/api/v1/messages', async (request, reply) => {
    const { IDs } = deleteBody.parse(request.body ?? {});
    await mails.remove(IDs?.length ? IDs : undefined);
    return reply.type('text/plain').send('ok');
  });
  const serveMail = (path: string, answer: (mail: StoredMail, reply: FastifyReply) => Promise<unknown>) =>
    app.get<{ Params: { ID: string } }>(path, async (request, reply) => {
      const mail = mails.get(request.params.ID);
      return mail ? answer(mail, reply) : reply.code(404).send({ Error: `There is no message ${request.params.ID}` });
    });
  serveMail('/api/v1/message/:ID', async (mail) => (await viewMail(mail)).message);
  serveMail('/api/v1/message/:ID/headers', async (mail) => (await viewMail(mail)).headers);
  serveMail('/api/v1/message/:ID/raw', async ({ raw }, reply) => reply.type('text/plain; charset=utf-8').send(raw));
  serveMail('/view/:ID.html', async (mail, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header(
        'content-security-policy',
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data: http: https:; font-src data: https:",
      )
      .send(await renderHtml(mail)),
  );
}

function servePushes(app: FastifyInstance, pushes: PushMessages): void {
  app.post('/api/v1/push', async (request, reply) =>
    reply.code(201).send({ ID: await pushes.add(pushMessage.parse(request.body)) }),
  );
  app.get('/api/v1/push', async (request) => {
    const { start, limit } = pageQuery.parse(request.query);
    return { total: pushes.count(), messages: pushes.list(start, limit) };
  });
  app.delete('/api/v1/push', async (_request, reply) => {
    await pushes.clear();
    return reply.type('text/plain').send('ok');
  });
}

const wholeNumber = (fallback: number, min: number, max: number) => {
  const message = `must be a whole number from ${min} to ${max}`;
  return z
    .string(message)
    .regex(/^\d{1,9}$/, message)
    .default(String(fallback))
    .transform(Number)
    .refine((value) => value >= min && value <= max, message);
};

const pageQuery = z.object({ start: wholeNumber(0, 0, 999_999_999), limit: wholeNumber(50, 1, 1_000) });
const deleteBody = z.object({ IDs: z.array(z.string()).nullish() });
