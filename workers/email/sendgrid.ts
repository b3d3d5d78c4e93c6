import { Client } from '@sendgrid/client';
import { MailService, type MailDataRequired } from '@sendgrid/mail';
import { z } from 'zod';
import type { EmailMessage } from '../../contracts/message.ts';
import { createAgent, exchange, readJson, type Answer, type Exchange } from '../exchange.ts';
import { classOfStatus, parseRetryAfter, toSendOutcome } from '../http-outcome.ts';
import type { Provider, SendOutcome } from '../provider.ts';
import { cutSecrets, toReason, withoutSecrets } from '../reason.ts';
import { faultOfHeaders, toAsciiMailbox, toListHeaders, toMessageId, type Mailbox } from './mail-headers.ts';

const DEFAULT_BASE_URL = 'https://api.sendgrid.com';

/**
 * Hands mail to SendGrid's Mail Send API, v3. It knows no repetition of a request, so one of unclear end is unknown.
 * @param options.baseUrl another server than api.sendgrid.com (https://api.eu.sendgrid.com in the EU), null for that
 */
export function createSendgridProvider(options: {
  apiKey: string;
  baseUrl: string | null;
  from: Mailbox;
  timeoutMs: number;
}): Provider<EmailMessage> {
  const { apiKey, timeoutMs } = options;
  const baseUrl = (options.baseUrl ?? DEFAULT_BASE_URL).replace(/\/+$/, '');
  const from = toAsciiMailbox(options.from);
  const agent = createAgent({ ca: null, timeoutMs });

  /**
   * Lets the official client make the request and puts our transport under it: the client's own follows redirects, takes
   * proxies from the environment, and can't tell a connect that failed from an answer that did not come.
   */
  const call = async (use: (client: Client) => Promise<unknown>, signal: AbortSignal): Promise<Exchange> => {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    let result: Exchange = { kind: 'not_sent', reason: 'the client of SendGrid made no request' };
    const client = new Client();
    client.request = async ({ url, method, body }) => {
      const request = {
        url: `${baseUrl}${url}`,
        method: method === 'GET' ? ('GET' as const) : ('POST' as const),
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', accept: 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
      };
      result = await exchange(agent, request, deadline);
      const status = result.kind === 'answered' ? result.status : 0;
      return [{ statusCode: status, headers: {}, body: {} }, {}];
    };
    await use(client);
    return result;
  };

  return {
    name: 'sendgrid',
    takes: ['email'],
    async send(message, { notificationId, signal }) {
      const fault = faultOfHeaders(message);
      if (fault !== null) return { class: 'permanent', reason: fault };
      const result = await call((client) => {
        const service = new MailService();
        service.setClient(client);
        return service.send(toMail(message, { from, notificationId }));
      }, signal);
      return withoutSecrets(toSendOutcome(result, classifyAnswer), [apiKey]);
    },
    async check(signal) {
      const result = await call((client) => client.request({ url: '/v3/scopes', method: 'GET' }), signal);
      const fault = faultOfScopes(result, [apiKey]);
      if (fault !== null) throw new Error(`SendGrid would not take mail: ${fault}`);
    },
    stop: async () => agent.destroy(),
  };
}

function toMail(
  message: EmailMessage,
  { from, notificationId }: { from: Mailbox; notificationId: string },
): MailDataRequired {
  const to = toAsciiMailbox(message.to);
  return {
    from: { name: from.name, email: from.address },
    to: { name: to.name, email: to.address },
    subject: message.subject,
    // The order counts: what a reader should prefer comes last.
    content: [
      { type: 'text/plain', value: message.text },
      { type: 'text/html', value: message.html },
    ],
    headers: { 'Message-ID': toMessageId(notificationId, from), ...toListHeaders(message) },
    // Comes back in every event about this mail.
    customArgs: { notification_id: notificationId },
    // What people read and click is theirs, and a rewritten link is not what the template says.
    trackingSettings: {
      clickTracking: { enable: false, enableText: false },
      openTracking: { enable: false },
      subscriptionTracking: { enable: false },
    },
  };
}

/** @see https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses */
function classifyAnswer(said: Answer): SendOutcome {
  const { status, headers, body } = said;
  const providerMessageId = headers['x-message-id'];
  if (status === 202 && (body === '' || providerMessageId !== undefined))
    return { class: 'accepted', providerMessageId };
  const outcomeClass = classOfStatus(status);
  if (outcomeClass === 'transient') return { class: outcomeClass, retryAfterSeconds: readRetryAfter(headers) };
  if (status !== 400) return { class: outcomeClass };
  const { success, data } = errorsSchema.safeParse(readJson(said));
  if (!success) return { class: 'unknown' };
  // Our own address is the fault of every mail, not of this one.
  return { class: data.errors.some(({ field }) => field?.startsWith('from')) ? 'configuration' : 'permanent' };
}

/** SendGrid tells the second, since 1970, when its limit starts anew. */
function readRetryAfter(headers: Answer['headers']): number | undefined {
  const resetAt = Number(headers['x-ratelimit-reset'] ?? NaN);
  const seconds = Math.max(0, Math.ceil(resetAt - Date.now() / 1_000));
  return parseRetryAfter(headers['retry-after']) ?? (Number.isNaN(seconds) ? undefined : seconds);
}

function faultOfScopes(result: Exchange, secrets: readonly string[]): string | null {
  if (result.kind !== 'answered') return `${result.reason}. Check that this machine may connect to SendGrid`;
  const { success, data } = scopesSchema.safeParse(readJson(result));
  if (result.status === 200 && success)
    return data.scopes.includes('mail.send')
      ? null
      : 'the key of SENDGRID_API_KEY may not send. Give it the permission "Mail Send"';
  return `${cutSecrets(toReason(result), secrets)}. Check SENDGRID_API_KEY, and that SENDGRID_BASE_URL is the region of the account`;
}

const errorsSchema = z.object({
  errors: z.array(z.object({ message: z.string(), field: z.string().nullish() })).min(1),
});
const scopesSchema = z.object({ scopes: z.array(z.string()) });
