import { createECDH } from 'node:crypto';
import webPush from 'web-push';
import { z } from 'zod';
import type { DeviceMessage } from '../../contracts/message.ts';
import { faultOfPayload, toWebPushPayload } from '../../contracts/push-payload.ts';
import { createAgent, exchange, type Answer, type HttpRequest } from '../exchange.ts';
import { parseRetryAfter, toUnanswered } from '../http-outcome.ts';
import type { Provider, SendOutcome } from '../provider.ts';
import { toReason, withoutSecrets } from '../reason.ts';
import { toTopic, toTtlSeconds } from './delivery-options.ts';

/** The push services of the browsers. `*.` stands for any subdomain. */
export const PUSH_SERVICE_HOSTS = [
  'fcm.googleapis.com',
  'updates.push.services.mozilla.com',
  '*.push.services.mozilla.com',
  '*.notify.windows.com',
  'web.push.apple.com',
  '*.push.apple.com',
];

const WAIT_SECONDS = 30;

export type VapidKeys = { subject: string; publicKey: string; privateKey: string };

/**
 * Hands messages to browsers' push services (RFC 8030), encrypted for the device (RFC 8291) and signed (RFC 8292).
 * @param options.allowedHosts where a subscription's endpoint may point: it comes from users, and we send requests there. A
 *   port other than 443 must be part of it
 * @param options.ca PEM, trusted instead of the public authorities
 */
export function createWebPushProvider(
  options: VapidKeys & { allowedHosts: readonly string[]; timeoutMs: number; ca: string | null },
): Provider<DeviceMessage> {
  const vapidDetails = { subject: options.subject, publicKey: options.publicKey, privateKey: options.privateKey };
  const keysFault = faultOfKeys(vapidDetails);
  const agent = createAgent(options);
  /** Some push service took a message signed with these keys, which are the same at all of them. */
  let isProven = false;
  /** Subscriptions that keys of no proof yet were refused for. */
  const refused = new Set<string>();

  /** One user's subscription must not stop everyone's messages: not at all with good keys, and with others only once. */
  const judge = (outcome: SendOutcome, endpoint: string): SendOutcome => {
    if (outcome.class === 'accepted') {
      isProven = true;
      refused.clear();
    }
    if (outcome.class !== 'configuration') return outcome;
    if (isProven || refused.has(endpoint)) return { ...outcome, class: 'permanent' };
    refused.add(endpoint);
    return outcome;
  };

  return {
    name: 'webpush',
    takes: ['webpush'],
    async send(message, { signal }) {
      if (keysFault !== null) return { class: 'configuration', reason: keysFault };
      const request = toRequest(message, vapidDetails, options.allowedHosts);
      if ('class' in request) return request;
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs)]);
      const answer = await exchange(agent, request, deadline);
      const outcome = answer.kind === 'answered' ? classifyAnswer(answer) : toUnanswered(answer);

      const [, signature = ''] = /t=([^,]+)/.exec(request.headers.Authorization ?? '') ?? [];
      return withoutSecrets(judge(outcome, request.url), [options.privateKey, signature]);
    },
    // There is nobody to ask: a push service answers only to subscriptions.
    async check() {
      if (keysFault !== null) throw new Error(keysFault);
    },
    stop: async () => agent.destroy(),
  };
}

function toRequest(
  message: DeviceMessage,
  vapidDetails: VapidKeys,
  allowedHosts: readonly string[],
): HttpRequest | SendOutcome {
  const subscription = parseSubscription(message.token.token);
  if (subscription === null)
    return { class: 'permanent', reason: 'the token is not a PushSubscription as JSON with endpoint, p256dh and auth' };
  const fault = faultOfEndpoint(subscription.endpoint, allowedHosts) ?? faultOfPayload(message, 'webpush');
  if (fault !== null) return { class: 'permanent', reason: fault };
  try {
    const { endpoint, headers, body } = webPush.generateRequestDetails(subscription, toWebPushPayload(message), {
      vapidDetails,
      contentEncoding: 'aes128gcm',
      TTL: toTtlSeconds(message.ttlSeconds),
      urgency: 'normal',
      ...(message.collapseKey !== null && { topic: toTopic(message.collapseKey) }),
    });
    return { url: endpoint, method: 'POST', headers: headersSchema.parse(headers), body };
  } catch (error) {
    // Our keys were checked before, so these are the subscription's.
    const reason = error instanceof Error ? error.message : String(error);
    return { class: 'permanent', reason: `the subscription's keys can't be used: ${reason}` };
  }
}

/** Says why no request may go to an endpoint; null when one may. */
export function faultOfEndpoint(endpoint: string, allowedHosts: readonly string[]): string | null {
  const url = URL.parse(endpoint);
  if (url === null || url.protocol !== 'https:') return 'the endpoint of the subscription must be an https URL';
  if (url.username !== '' || url.password !== '') return 'the endpoint of the subscription must not hold a login';
  const isAllowed = allowedHosts.some((allowed) =>
    allowed.startsWith('*.') ? url.host.endsWith(allowed.slice(1)) : url.host === allowed,
  );
  return isAllowed ? null : `the endpoint of the subscription is at ${url.host}, not at a push service that is allowed`;
}

function classifyAnswer(answer: Answer): SendOutcome {
  const reason = toReason(answer);
  const retryAfterSeconds = parseRetryAfter(answer.headers['retry-after']) ?? WAIT_SECONDS;
  switch (answer.status) {
    case 201:
    case 202:
      return { class: 'accepted', providerMessageId: answer.headers.location };
    case 404:
    case 410:
      return { class: 'address_dead', reason };
    case 400:
    case 413:
      return { class: 'permanent', reason };
    case 401:
    case 403:
      return { class: 'configuration', reason };
    case 429:
    case 500:
    case 502:
    case 503:
      return { class: 'transient', reason, retryAfterSeconds };
    default:
      return { class: 'unknown', reason };
  }
}

/** Says in a sentence why nothing can be signed with these; null when they are fine. */
function faultOfKeys({ subject, publicKey, privateKey }: VapidKeys): string | null {
  const { protocol } = URL.parse(subject) ?? { protocol: '' };
  if (protocol !== 'mailto:' && protocol !== 'https:')
    return 'VAPID_SUBJECT must be a mailto: or https: URL where a push service reaches you';
  if (!BASE64URL.test(publicKey) || !BASE64URL.test(privateKey) || toBytes(privateKey).length !== 32)
    return 'VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY must be base64url without padding: make a pair with "npx web-push generate-vapid-keys"';
  return derivePublicKey(privateKey) === publicKey
    ? null
    : 'VAPID_PUBLIC_KEY does not belong to VAPID_PRIVATE_KEY: set both from the same pair, the one that pages subscribe with';
}

function derivePublicKey(privateKey: string): string | null {
  try {
    const ecdh = createECDH('prime256v1');
    ecdh.setPrivateKey(toBytes(privateKey));
    return ecdh.getPublicKey('base64url');
  } catch {
    // Not every 32 bytes are a key.
    return null;
  }
}

function parseSubscription(token: string): Subscription | null {
  try {
    return subscriptionSchema.parse(JSON.parse(token));
  } catch {
    return null;
  }
}

const BASE64URL = /^[A-Za-z0-9_-]+$/;

const toBytes = (base64url: string) => Buffer.from(base64url, 'base64url');

/** As web-push makes them: some are numbers. */
const headersSchema = z.record(z.string(), z.coerce.string());

const subscriptionSchema = z.object({
  endpoint: z.string(),
  keys: z.object({ p256dh: z.string().regex(BASE64URL), auth: z.string().regex(BASE64URL) }),
});

type Subscription = z.infer<typeof subscriptionSchema>;
