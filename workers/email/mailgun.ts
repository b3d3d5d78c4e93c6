import Mailgun from 'mailgun.js';
import { z } from 'zod';
import type { EmailMessage } from '../../contracts/message.ts';
import { createAgent, exchange, readJson, type Answer, type Exchange } from '../exchange.ts';
import { classOfStatus, parseRetryAfter, toSendOutcome } from '../http-outcome.ts';
import type { Provider, SendOutcome } from '../provider.ts';
import { cutSecrets, toReason, withoutSecrets } from '../reason.ts';
import {
  faultOfHeaders,
  toAsciiMailbox,
  toListHeaders,
  toMailboxText,
  toMessageId,
  type Mailbox,
} from './mail-headers.ts';

const DEFAULT_BASE_URL = 'https://api.mailgun.net';

/**
 * Hands mail to Mailgun's Messages API, v3. It knows no repetition of a request, so one of unclear end is unknown.
 * @param options.domain the sending domain
 * @param options.baseUrl another server than api.mailgun.net (https://api.eu.mailgun.net in the EU), null for that
 */
export function createMailgunProvider(options: {
  apiKey: string;
  domain: string;
  baseUrl: string | null;
  from: Mailbox;
  timeoutMs: number;
}): Provider<EmailMessage> {
  const { apiKey, domain, timeoutMs } = options;
  const baseUrl = (options.baseUrl ?? DEFAULT_BASE_URL).replace(/\/+$/, '');
  const from = toAsciiMailbox(options.from);
  const agent = createAgent({ ca: null, timeoutMs });
  const credentials = Buffer.from(`api:${apiKey}`).toString('base64');
  const secrets = [apiKey, credentials];

  /**
   * Lets the official client make the request and puts our transport under it: the client's own turns a lost connection
   * into a 400, follows redirects, and keeps back the headers of an answer.
   */
  const call = async (use: (client: MailgunClient) => Promise<unknown>, signal: AbortSignal): Promise<Exchange> => {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    let result: Exchange = { kind: 'not_sent', reason: 'the client of Mailgun made no request' };
    const client = new Mailgun(FormData).client({ username: 'api', key: apiKey, url: baseUrl });
    client.request.requestProvider = {
      async makeRequest(url, method, request) {
        const { headers, body } = await toContent(request);
        headers['authorization'] = `Basic ${credentials}`;
        result = await exchange(agent, { url, method: method === 'GET' ? 'GET' : 'POST', headers, body }, deadline);
        return { status: result.kind === 'answered' ? result.status : 0, body: {} };
      },
      setSubAccountHeader() {},
      resetSubAccountHeader() {},
    };
    await use(client);
    return result;
  };

  return {
    name: 'mailgun',
    takes: ['email'],
    async send(message, { notificationId, signal }) {
      const fault = faultOfHeaders(message);
      if (fault !== null) return { class: 'permanent', reason: fault };
      const mail = toMail(message, { from, notificationId });
      const result = await call((client) => client.messages.create(domain, mail), signal);
      return withoutSecrets(toSendOutcome(result, classifyAnswer), secrets);
    },
    async check(signal) {
      const known = await call((client) => client.request.get(`/v4/domains/${domain}`), signal);
      // A key that may only send can't read its domain. Asked to send nothing, Mailgun says what is missing, or that the
      // key is wrong.
      const answer = isRefused(known)
        ? await call((client) => client.request.postWithFD(`/v3/${domain}/messages`, {}), signal)
        : known;
      const fault = faultOfDomain(answer, domain, secrets);
      if (fault !== null) throw new Error(`Mailgun would not take mail: ${fault}`);
    },
    stop: async () => agent.destroy(),
  };
}

type MailgunClient = ReturnType<Mailgun['client']>;

function toMail(message: EmailMessage, { from, notificationId }: { from: Mailbox; notificationId: string }) {
  const headers = { 'Message-Id': toMessageId(notificationId, from), ...toListHeaders(message) };
  return {
    from: toMailboxText(from),
    to: toMailboxText(toAsciiMailbox(message.to)),
    subject: message.subject,
    text: message.text,
    html: message.html,
    // Comes back in every event about this mail.
    'v:notification_id': notificationId,
    ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [`h:${name}`, value])),
    // What people read and click is theirs, and a rewritten link is not what the template says.
    'o:tracking': false,
    'o:tracking-clicks': false,
    'o:tracking-opens': false,
  };
}

/** The client's form as bytes; what it calls a request has the form under `data`. */
async function toContent(request: unknown): Promise<{ headers: Record<string, string>; body: Buffer | null }> {
  const { success, data } = formSchema.safeParse(request);
  if (!success) return { headers: {}, body: null };
  const encoded = new Response(data.data);
  const body = Buffer.from(await encoded.arrayBuffer());
  return { headers: { 'content-type': encoded.headers.get('content-type') ?? '' }, body };
}

/** @see https://documentation.mailgun.com/docs/mailgun/quickstart-guide/responses */
function classifyAnswer(said: Answer): SendOutcome {
  const { status, headers } = said;
  const answer = answerSchema.safeParse(readJson(said));
  if (status === 200 && answer.data?.id !== undefined) return { class: 'accepted', providerMessageId: answer.data.id };
  const outcomeClass = classOf(status, answer.data?.message);
  if (outcomeClass !== 'transient') return { class: outcomeClass };
  return { class: outcomeClass, retryAfterSeconds: parseRetryAfter(headers['retry-after']) };
}

function classOf(status: number, message: string | undefined): SendOutcome['class'] {
  if (status === 400) {
    if (message === undefined) return 'unknown';
    // Our own address or domain is the fault of every mail, not of this one.
    return /^'?from'? parameter|domain .* is not allowed to send/i.test(message) ? 'configuration' : 'permanent';
  }
  // Mailgun says of a 404 that it may pass, unless it does not know the path or the domain.
  if (status === 404 && message !== undefined && !/domain not found/i.test(message)) return 'transient';
  return classOfStatus(status);
}

const isRefused = (result: Exchange) => result.kind === 'answered' && (result.status === 401 || result.status === 403);

function faultOfDomain(result: Exchange, domain: string, secrets: readonly string[]): string | null {
  if (result.kind !== 'answered') return `${result.reason}. Check that this machine may connect to Mailgun`;
  // Only the message was missing.
  if (result.status === 400) return null;
  const { success, data } = domainSchema.safeParse(readJson(result));
  if (result.status === 200 && success)
    return data.domain.state === 'active'
      ? null
      : `the domain ${domain} is ${data.domain.state}. Add its DNS records and verify it`;
  return `${cutSecrets(toReason(result), secrets)}. Check MAILGUN_API_KEY and MAILGUN_DOMAIN, and that MAILGUN_BASE_URL is the domain's region`;
}

const formSchema = z.object({ data: z.instanceof(FormData) });
const answerSchema = z.object({ id: z.string().min(1).optional(), message: z.string() });
const domainSchema = z.object({ domain: z.object({ state: z.string() }) });
