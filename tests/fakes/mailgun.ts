import { randomUUID } from 'node:crypto';
import addressparser from 'nodemailer/lib/addressparser';
import type { ReceivedMail } from './received-mail.ts';
import { createScript, type Script } from './script.ts';
import { follow, startFakeServer, type FakeRequest, type Reply } from './server.ts';

export type MailgunFake = {
  url: string;
  domain: string;
  apiKey: string;
  /** Of one domain; it may do nothing but send. */
  sendingKey: string;
  script: Script;
  /** What the domain is: `active`, `unverified` or `disabled`. */
  state: { of: string };
  accepted(address: string): ReceivedMail[];
  /** How many connections are open. */
  open(): number;
  stop(): Promise<void>;
};

const LIMIT_BYTES = 25 * 1024 * 1024;
/** Of all parameters with these prefixes together. */
const OPTIONS_LIMIT_BYTES = 16 * 1024;
const OPTION = /^[ohvt]:/;

/** Starts Mailgun's `POST /v3/{domain}/messages` and `GET /v4/domains/{domain}`. */
export async function startMailgunFake(): Promise<MailgunFake> {
  const domain = 'mg.example.com';
  const apiKey = `key-${randomUUID()}`;
  const sendingKey = `key-${randomUUID()}`;
  const state = { of: 'active' };
  const script = createScript();
  const accepted: ReceivedMail[] = [];

  const handle = async (request: FakeRequest): Promise<Reply> => {
    const { method, path } = request;
    const isSend = method === 'POST' && path.startsWith('/v3/') && path.endsWith('/messages');
    const keys = isSend ? [apiKey, sendingKey] : [apiKey];
    if (!keys.some((key) => request.headers.authorization === toBasic(key))) return { status: 401, body: 'Forbidden' };
    if (method === 'GET' && path === `/v4/domains/${domain}`)
      return { status: 200, body: { domain: { name: domain, state: state.of, is_disabled: state.of === 'disabled' } } };
    if (!isSend) return { status: 404, body: '<html>404 page not found</html>' };
    if (path !== `/v3/${domain}/messages`) return refuse(404, `Domain not found: ${path.split('/')[2]}`);

    const form = await readForm(request);
    const fault = faultOfForm(form, request.body.length);
    if (fault !== null) return refuse(fault.startsWith('message size') ? 413 : 400, fault);
    const mail = toReceivedMail(form);
    return follow(script, mail.to.address, request, () => {
      accepted.push(mail);
      return { status: 200, body: { id: `<${randomUUID()}@${domain}>`, message: 'Queued. Thank you.' } };
    });
  };

  const server = await startFakeServer(handle);
  return {
    url: `http://127.0.0.1:${server.port}`,
    domain,
    apiKey,
    sendingKey,
    script,
    state,
    accepted: (address) => accepted.filter((mail) => mail.to.address === address),
    open: server.open,
    stop: server.stop,
  };
}

const toBasic = (key: string) => `Basic ${Buffer.from(`api:${key}`).toString('base64')}`;

const refuse = (status: number, message: string): Reply => ({ status, body: { message } });

/** The fields of a multipart form; none when it is no such form. */
async function readForm({ headers, body }: FakeRequest): Promise<Map<string, string>> {
  const type = headers['content-type'] ?? '';
  if (!type.startsWith('multipart/form-data')) return new Map();
  const form = await new Response(new Uint8Array(body), { headers: { 'content-type': type } })
    .formData()
    .catch(() => new FormData());
  return new Map([...form].map(([name, value]) => [name, typeof value === 'string' ? value : '']));
}

/** @see https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages/post-v3--domain-name--messages */
function faultOfForm(form: Map<string, string>, size: number): string | null {
  if (size > LIMIT_BYTES) return 'message size exceeds 25MB';
  const unknown = [...form.keys()].find((name) => !PARAMETERS.has(name) && !/^[hv]:[\w-]+$/.test(name));
  if (unknown !== undefined) return `'${unknown}' is not a parameter`;
  for (const name of ['from', 'to'] as const) {
    const value = form.get(name);
    if (value === undefined) return `'${name}' parameter is missing`;
    if (!isMailbox(value)) return `'${name}' parameter is not a valid address. please check documentation`;
  }
  if (!form.get('text') && !form.get('html')) return "Need at least one of 'text' or 'html' parameters specified";
  for (const [name, value] of form) {
    if (name.startsWith('o:tracking') && !['yes', 'no', 'true', 'false', 'htmlonly'].includes(value))
      return `'${name}' parameter is not a boolean`;
  }
  const options = [...form].filter(([name]) => OPTION.test(name)).map(([name, value]) => name + value);
  return Buffer.byteLength(options.join('')) > OPTIONS_LIMIT_BYTES ? 'the options exceed 16KB' : null;
}

const PARAMETERS = new Set([
  ...['from', 'to', 'cc', 'bcc', 'subject', 'text', 'html', 'amp-html', 'recipient-variables'],
  ...['o:tag', 'o:dkim', 'o:testmode', 'o:tracking', 'o:tracking-clicks', 'o:tracking-opens', 'o:require-tls'],
]);

const isMailbox = (text: string) =>
  /^[\x21-\x7e]+@[a-z0-9.-]+$/i.test(addressparser(text, { flatten: true })[0]?.address ?? '');

function toReceivedMail(form: Map<string, string>): ReceivedMail {
  const field = (name: string) => form.get(name) ?? '';
  const mailbox = (name: string) => {
    const [first] = addressparser(field(name), { flatten: true });
    return { name: first?.name ?? '', address: first?.address ?? '' };
  };
  return {
    from: mailbox('from'),
    to: mailbox('to'),
    subject: field('subject'),
    html: field('html'),
    text: field('text'),
    messageId: field('h:Message-Id'),
    listUnsubscribe: form.get('h:List-Unsubscribe') ?? null,
    listUnsubscribePost: form.get('h:List-Unsubscribe-Post') ?? null,
    notificationId: form.get('v:notification_id') ?? null,
    isTracked: ['o:tracking', 'o:tracking-clicks', 'o:tracking-opens'].some((name) => form.get(name) !== 'no'),
  };
}
