import { createHash } from 'node:crypto';
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify';
import { GATEWAY_SERVICE } from '../../contracts/scopes.ts';
import { sendProblem } from '../../platform/problem.ts';
import { ServiceUnavailable, type ServiceClient } from '../../platform/service-client.ts';
import { renderPage, STYLE, type PageName } from './page.ts';

const URL_PATH = '/unsubscribe/:token';
const BODY_LIMIT_BYTES = 16 * 1024;
const FORMS = ['application/x-www-form-urlencoded', 'multipart/form-data'];
const RETRY_AFTER_SECONDS = 30;

/**
 * The links in mails that can be unsubscribed from, open to everybody who holds one (RFC 8058): GET shows a page and changes
 * nothing, for mail scanners follow links; POST acts, from the page's button or at one click in a mail program.
 */
export async function registerUnsubscribe(app: FastifyInstance, notification: ServiceClient): Promise<void> {
  const ask = async (query: string, token: string, requestId: string): Promise<boolean> => {
    const { data, errors } = await notification.graphql(
      { query, variables: { token } },
      { viewer: GATEWAY_SERVICE, requestId },
    );
    const [error] = errors ?? [];
    if (error !== undefined) throw new ServiceUnavailable(`the notification service answered: ${error.message}`);
    return data?.['isOurs'] === true;
  };

  await app.register(async (room) => {
    room.removeAllContentTypeParsers();
    // What the form says is not read: the token is the permission, and posting it the wish.
    room.addContentTypeParser(FORMS, { parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES }, async () => null);

    room.setErrorHandler((error: FastifyError, _, reply) => {
      if (error.code !== 'FST_ERR_CTP_INVALID_MEDIA_TYPE') throw error;
      return sendProblem(reply, { code: 'UNSUPPORTED_MEDIA_TYPE', detail: `post a form: ${FORMS.join(' or ')}` });
    });

    for (const { method, query, page } of ACTS) {
      room.route<{ Params: { token: string } }>({
        method,
        url: URL_PATH,
        bodyLimit: BODY_LIMIT_BYTES,
        handler: async (request, reply) => {
          try {
            const isOurs = await ask(query, request.params.token, request.id);
            return await sendPage(reply, isOurs ? 200 : 404, isOurs ? page : 'unknown');
          } catch (error) {
            if (!(error instanceof ServiceUnavailable)) throw error;
            request.log.error({ err: error }, 'an unsubscribe link could not be served');
            void reply.header('retry-after', RETRY_AFTER_SECONDS);
            return sendPage(reply, 503, 'away');
          }
        },
      });
    }
  });
}

const ACTS = [
  {
    method: 'GET',
    query: 'query Ask($token: String!) { isOurs: isUnsubscribeToken(token: $token) }',
    page: 'ask',
  },
  {
    method: 'POST',
    query: 'mutation Act($token: String!) { isOurs: unsubscribe(token: $token) }',
    page: 'done',
  },
] as const satisfies { method: string; query: string; page: PageName }[];

const sendPage = (reply: FastifyReply, status: number, name: PageName): FastifyReply =>
  reply
    .code(status)
    .type('text/html; charset=utf-8')
    .header('content-security-policy', POLICY)
    .header('cache-control', 'no-store')
    // The address of the page is the permission: it goes to nobody.
    .header('referrer-policy', 'no-referrer')
    .header('x-content-type-options', 'nosniff')
    .send(renderPage(name));

const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ');
