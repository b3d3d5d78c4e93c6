import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { FEEDBACK_PROVIDERS, type FeedbackProvider } from '../../contracts/feedback.ts';
import { WEBHOOK_VARIABLES, type WebhookKeys } from '../../contracts/webhook-keys.ts';
import { sendProblem } from '../../platform/problem.ts';
import { ServiceUnavailable, type ServiceClient } from '../../platform/service-client.ts';
import { createBouncesWebhook } from './bounces.ts';
import { createMailgunWebhook } from './mailgun.ts';
import { createOnesignalWebhook } from './onesignal.ts';
import { reportFeedback } from './report-feedback.ts';
import { createSendgridWebhook } from './sendgrid.ts';
import type { Webhook } from './webhook.ts';

const BODY_LIMIT_BYTES = 1024 * 1024;
const RETRY_AFTER_SECONDS = 30;

const create: Record<FeedbackProvider, (key: string) => Webhook> = {
  sendgrid: createSendgridWebhook,
  mailgun: createMailgunWebhook,
  onesignal: createOnesignalWebhook,
  bounces: createBouncesWebhook,
};

/** `POST /webhooks/{provider}`: open to everybody who can prove to be the provider. It answers 200 when all is stored. */
export async function registerWebhooks(
  app: FastifyInstance,
  keys: WebhookKeys,
  notification: ServiceClient,
): Promise<void> {
  await app.register(async (room) => {
    // Signatures are over the body as it came.
    room.removeAllContentTypeParsers();
    room.addContentTypeParser(
      '*',
      { parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES },
      async (_: unknown, body: Buffer) => body,
    );
    for (const provider of FEEDBACK_PROVIDERS) {
      const key = keys[provider];
      const webhook = key === null ? null : create[provider](key);
      room.post(`/webhooks/${provider}`, { bodyLimit: BODY_LIMIT_BYTES }, (request, reply) =>
        webhook === null
          ? sendProblem(reply, {
              code: 'NOT_FOUND',
              detail: `this webhook is closed: set ${WEBHOOK_VARIABLES[provider]} to open it`,
            })
          : take(provider, webhook, notification, request, reply),
      );
    }
  });
}

async function take(
  provider: FeedbackProvider,
  webhook: Webhook,
  notification: ServiceClient,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  const fault = webhook.faultOf({ headers: request.headers, body }, new Date());
  if (fault !== null) {
    request.log.warn({ provider, from: request.ip, why: fault }, 'refused a webhook that is not the provider’s');
    return sendProblem(reply, { code: 'UNAUTHENTICATED', detail: fault });
  }
  const feedback = webhook.parse(body);
  if (feedback.kind === 'malformed') return sendProblem(reply, { code: 'BAD_USER_INPUT', detail: feedback.detail });
  const { events, ignored } = feedback;
  try {
    const recorded = await reportFeedback(notification, events, request.id);
    request.log.info({ provider, recorded, repeated: events.length - recorded, ignored }, 'feedback');
    return await reply.send({ recorded, ignored });
  } catch (error) {
    if (!(error instanceof ServiceUnavailable)) throw error;
    request.log.error({ err: error, provider }, 'feedback could not be stored; the provider will repeat it');
    return sendProblem(reply, {
      code: 'UNAVAILABLE',
      detail: 'not all of it could be stored now; repeat the same request',
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    });
  }
}
