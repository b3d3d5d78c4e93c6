import { createHash } from 'node:crypto';
import {
  createConfiguration,
  DefaultApi,
  HttpMethod,
  Notification,
  type RequestContext,
  ResponseContext,
  SelfDecodingBody,
  ServerConfiguration,
  wrapHttpLibrary,
} from '@onesignal/node-onesignal';
import { v4 as createUuid } from 'uuid';
import { z } from 'zod';
import type { DeviceMessage } from '../../contracts/message.ts';
import { faultOfPayload } from '../../contracts/push-payload.ts';
import { createAgent, exchange, readJson, type Answer, type Exchange, type HttpRequest } from '../exchange.ts';
import { parseRetryAfter } from '../http-outcome.ts';
import type { Provider, SendOutcome } from '../provider.ts';
import { toReason, withoutSecrets } from '../reason.ts';
import { toCollapseId, toTopic, toTtlSeconds } from './delivery-options.ts';

const DEFAULT_BASE_URL = 'https://api.onesignal.com';

/**
 * Hands messages to OneSignal, one request per subscription. Each carries a key made of the notification and the device, by
 * which OneSignal knows a repetition for 30 days: so a hand-over of unclear end may be repeated, and is transient.
 * @param options.baseUrl another server than api.onesignal.com, null for that
 */
export function createOneSignalProvider(options: {
  appId: string;
  apiKey: string;
  baseUrl: string | null;
  timeoutMs: number;
}): Provider<DeviceMessage> {
  const { appId, apiKey, timeoutMs } = options;
  const baseUrl = (options.baseUrl ?? DEFAULT_BASE_URL).replace(/\/+$/, '');
  const agent = createAgent({ ca: null, timeoutMs });

  /** The official client makes the request; below it is our transport, which has time limits and tells what happened. */
  const call = async (use: (api: DefaultApi) => Promise<unknown>, signal: AbortSignal): Promise<Exchange> => {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    let result: Exchange = { kind: 'not_sent', reason: 'the client of OneSignal made no request' };
    const httpApi = wrapHttpLibrary({
      async send(request) {
        result = await exchange(agent, toHttpRequest(request), deadline);
        if (result.kind !== 'answered') throw new Error(result.reason);
        const bytes = Promise.resolve(Buffer.from(result.body));
        return new ResponseContext(result.status, result.headers, new SelfDecodingBody(bytes));
      },
    });
    const baseServer = new ServerConfiguration(baseUrl, {});
    // What the client makes of the answer is of no interest: it throws for bodies that it can't read.
    await use(new DefaultApi(createConfiguration({ restApiKey: apiKey, baseServer, httpApi }))).catch(() => {});
    return result;
  };

  return {
    name: 'onesignal',
    takes: ['onesignal'],
    async send(message, { notificationId, signal }) {
      const fault = faultOfPayload(message, 'onesignal');
      if (fault !== null) return { class: 'permanent', reason: fault };
      const notification = toNotification(message, { appId, notificationId });
      const result = await call((api) => api.createNotification(notification), signal);
      const outcome: SendOutcome =
        result.kind === 'answered'
          ? classifyAnswer(result, message.token.token)
          : { class: 'transient', reason: result.reason };
      return withoutSecrets(outcome, [apiKey]);
    },
    async check(signal) {
      // Viewing the app itself takes an organisation's key; this takes the key that sends.
      const result = await call((api) => api.getNotifications(appId, 1), signal);
      if (result.kind === 'answered' && result.status === 200) return;
      const said = { class: 'unknown' as const, reason: result.kind === 'answered' ? toReason(result) : result.reason };
      throw new Error(
        `OneSignal would not take messages: ${withoutSecrets(said, [apiKey]).reason}. Check that ONESIGNAL_API_KEY is a key of the app ONESIGNAL_APP_ID`,
      );
    },
    stop: async () => agent.destroy(),
  };
}

function toHttpRequest(request: RequestContext): HttpRequest {
  const body = request.getBody();
  return {
    // A string by its type, a URL in truth.
    url: String(request.getUrl()),
    method: request.getHttpMethod() === HttpMethod.GET ? 'GET' : 'POST',
    headers: request.getHeaders(),
    body: typeof body === 'string' ? body : null,
  };
}

function toNotification(
  message: DeviceMessage,
  { appId, notificationId }: { appId: string; notificationId: string },
): Notification {
  const { title, body, image, link, data, ttlSeconds, collapseKey } = message;
  return Object.assign(new Notification(), {
    app_id: appId,
    // Nobody sees it; by it an event about this message is known for ours.
    name: notificationId,
    target_channel: 'push' as const,
    include_subscription_ids: [message.token.token],
    idempotency_key: toIdempotencyKey(notificationId, message.token.id),
    headings: { en: title },
    contents: { en: body },
    ...(data !== null && { data }),
    ...(image !== null && { big_picture: image, chrome_web_image: image, ios_attachments: { image } }),
    // `url` opens in a browser; an app's own scheme has a field of its own.
    ...(link !== null && (/^https?:\/\//i.test(link) ? { url: link } : { app_url: link })),
    ...(ttlSeconds !== null && { ttl: toTtlSeconds(ttlSeconds) }),
    ...(collapseKey !== null && { collapse_id: toCollapseId(collapseKey), web_push_topic: toTopic(collapseKey) }),
  });
}

/** The same for every attempt. OneSignal's own client makes version 4, so this has its form. */
export const toIdempotencyKey = (notificationId: string, tokenId: string): string =>
  createUuid({ random: createHash('sha256').update(`${notificationId}/${tokenId}`).digest().subarray(0, 16) });

function classifyAnswer(answer: Answer, subscriptionId: string): SendOutcome {
  const reason = toReason(answer);
  const { status, headers } = answer;
  if (status === 429 || status >= 500)
    return { class: 'transient', reason, retryAfterSeconds: parseRetryAfter(headers['retry-after']) };
  if (status === 401 || status === 403) return { class: 'configuration', reason };
  const { success, data } = answerSchema.safeParse(readJson(answer));
  if (!success) return { class: 'unknown', reason };
  if (status === 400) return { class: /\bapp_id\b/.test(reason) ? 'configuration' : 'permanent', reason };
  if (status === 413) return { class: 'permanent', reason };
  if (status !== 200 || data.id === undefined) return { class: 'unknown', reason };
  // Nothing was created, or for nobody: the subscription has ended, or never was.
  if (data.id === '' || isNamed(data.errors, subscriptionId)) return { class: 'address_dead', reason };
  return { class: 'accepted', providerMessageId: data.id };
}

/** `errors` of a good answer may list ids that are not valid, under names such as `invalid_player_ids`. */
const isNamed = (errors: unknown, subscriptionId: string) =>
  Object.entries(errors ?? {}).some(
    ([name, ids]) => name.startsWith('invalid_') && Array.isArray(ids) && ids.includes(subscriptionId),
  );

const answerSchema = z.object({ id: z.string().optional(), errors: z.unknown().optional() });
