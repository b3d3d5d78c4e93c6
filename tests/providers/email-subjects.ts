import { domainToUnicode } from 'node:url';
import { simpleParser, type AddressObject, type ParsedMail } from 'mailparser';
import type { EmailMessage } from '../../contracts/message.ts';
import { createGmailProvider } from '../../workers/email/gmail.ts';
import { toAsciiMailbox } from '../../workers/email/mail-headers.ts';
import { createMailgunProvider } from '../../workers/email/mailgun.ts';
import { createSendgridProvider } from '../../workers/email/sendgrid.ts';
import { createSmtpProvider } from '../../workers/email/smtp.ts';
import type { Provider, SendOutcome } from '../../workers/provider.ts';
import { createCertificate } from '../fakes/certificate.ts';
import { startGmailFake } from '../fakes/gmail.ts';
import { startMailgunFake } from '../fakes/mailgun.ts';
import type { ReceivedMail } from '../fakes/received-mail.ts';
import type { Step as HttpStep } from '../fakes/script.ts';
import { startSendgridFake } from '../fakes/sendgrid.ts';
import { startScriptedSmtp, type ScriptedSmtp, type Step as SmtpStep } from '../scripted-smtp.ts';

export const FROM = { name: 'Ümlaut & „Söhne“, Inc.', address: 'no-reply@exämple.com' };

/** One provider and its fake, as the suite sees it; `S` is what the fake can be told to do. */
export type Subject<S> = {
  name: string;
  start(): Promise<Running<S>>;
  cases: Record<CaseName, Case<S>> & Record<string, Case<S>>;
};

/** What every provider has to tell apart. */
type CaseName =
  | 'a failure that passes'
  | 'too many requests'
  | 'a message refused for good'
  | 'a refusal of our credentials'
  | 'a connection cut before acceptance'
  | 'a connection cut after acceptance'
  | 'an answer that nobody foresaw';

/** What the fake does, and what the provider must make of it. */
export type Case<S> = { step: S; outcome: Partial<SendOutcome>; isAccepted?: boolean };

export type Running<S> = {
  createProvider(options?: { timeoutMs?: number; credentials?: 'right' | 'wrong' }): Provider<EmailMessage>;
  script(address: string, ...steps: (S | 'accept')[]): void;
  hang: S;
  /** An answer that repeats our secrets. */
  echo: S;
  secrets: string[];
  /** How many hand-overs to an address were begun, and how many of them reached the server whole. */
  requests(address: string): number;
  received(address: string): number;
  accepted(address: string): Promise<ReceivedMail[]>;
  /** How many connections the fake has. */
  open(): number;
  stop(): Promise<void>;
};

const refusal = (status: number, message: string, field: string | null = null, headers = {}): HttpStep => ({
  status,
  headers,
  body: { errors: [{ message, field, help: null }] },
});

export const sendgrid: Subject<HttpStep> = {
  name: 'sendgrid',
  cases: {
    'a failure that passes': { step: refusal(503, 'unavailable'), outcome: { class: 'transient' } },
    'too many requests': {
      step: refusal(429, 'too many requests', null, { 'retry-after': '7' }),
      outcome: { class: 'transient', retryAfterSeconds: 7 },
    },
    'a limit that starts anew in the past': {
      step: refusal(429, 'too many requests', null, { 'x-ratelimit-reset': '1600000000' }),
      outcome: { class: 'transient', retryAfterSeconds: 0 },
    },
    'a message refused for good': {
      step: refusal(400, 'Does not contain a valid address.', 'personalizations.0.to.0.email'),
      outcome: { class: 'permanent' },
    },
    'a message too big': { step: refusal(413, 'too large'), outcome: { class: 'permanent' } },
    'a refusal of our credentials': { step: refusal(401, 'invalid'), outcome: { class: 'configuration' } },
    'a sender that is not verified': {
      step: refusal(403, 'not a verified sender'),
      outcome: { class: 'configuration' },
    },
    'a sender address that is none': { step: refusal(400, 'no', 'from.email'), outcome: { class: 'configuration' } },
    'a wrong path': { step: refusal(404, 'not found'), outcome: { class: 'configuration' } },
    'a gateway without its server': {
      step: { status: 502, body: '<h1>Bad Gateway</h1>' },
      outcome: { class: 'unknown' },
    },
    'a connection cut before acceptance': { step: 'reset_before', outcome: { class: 'unknown' } },
    'a connection cut after acceptance': { step: 'reset_after', outcome: { class: 'unknown' }, isAccepted: true },
    'an answer that nobody foresaw': {
      step: { status: 307, headers: { location: '/v3/mail/send' }, body: '<p>elsewhere</p>' },
      outcome: { class: 'unknown', reason: '307 <p>elsewhere</p>' },
    },
    'a good status with a page': {
      step: { status: 202, body: '<html>Welcome to our hotel</html>' },
      outcome: { class: 'unknown', reason: '202 <html>Welcome to our hotel</html>' },
    },
    'a refusal in foreign words': { step: { status: 400, body: '<p>400</p>' }, outcome: { class: 'unknown' } },
  },
  async start() {
    const fake = await startSendgridFake();
    return {
      createProvider: ({ timeoutMs = 10_000, credentials } = {}) =>
        createSendgridProvider({
          apiKey: credentials === 'wrong' ? 'SG.wrong' : fake.apiKey,
          baseUrl: fake.url,
          from: FROM,
          timeoutMs,
        }),
      script: fake.script.set,
      hang: 'hang',
      echo: 'echo',
      secrets: [fake.apiKey],
      requests: fake.script.requests,
      received: fake.script.requests,
      accepted: async (address) => fake.accepted(address),
      open: fake.open,
      stop: fake.stop,
    };
  },
};

export const mailgun: Subject<HttpStep> = {
  name: 'mailgun',
  cases: {
    'a failure that passes': { step: { status: 500, body: { message: 'oops' } }, outcome: { class: 'transient' } },
    'too many requests': {
      step: { status: 429, headers: { 'retry-after': '7' }, body: { message: 'Too many requests' } },
      outcome: { class: 'transient', retryAfterSeconds: 7 },
    },
    'a message refused for good': {
      step: { status: 400, body: { message: 'to parameter is not a valid address. please check documentation' } },
      outcome: { class: 'permanent' },
    },
    'a message too big': { step: { status: 413, body: '<h1>413</h1>' }, outcome: { class: 'permanent' } },
    'a refusal of our credentials': { step: { status: 401, body: 'Forbidden' }, outcome: { class: 'configuration' } },
    'a sender address that is none': {
      step: { status: 400, body: { message: "'from' parameter is not a valid address. please check documentation" } },
      outcome: { class: 'configuration' },
    },
    'a domain that it does not know': {
      step: { status: 404, body: { message: 'Domain not found: mg.example.com' } },
      outcome: { class: 'configuration' },
    },
    'a domain that is not there yet': {
      step: { status: 404, body: { message: 'not found' } },
      outcome: { class: 'transient' },
    },
    'a gateway without its server': { step: { status: 504, body: '<h1>504</h1>' }, outcome: { class: 'unknown' } },
    'a connection cut before acceptance': { step: 'reset_before', outcome: { class: 'unknown' } },
    'a connection cut after acceptance': { step: 'reset_after', outcome: { class: 'unknown' }, isAccepted: true },
    'an answer that nobody foresaw': {
      step: { status: 308, headers: { location: '/v3/mg.example.com/messages' }, body: '<p>elsewhere</p>' },
      outcome: { class: 'unknown', reason: '308 <p>elsewhere</p>' },
    },
    'a good status with a page': {
      step: { status: 200, body: '<html>Welcome to our hotel</html>' },
      outcome: { class: 'unknown', reason: '200 <html>Welcome to our hotel</html>' },
    },
    'a good status of another shape': { step: { status: 200, body: { queued: true } }, outcome: { class: 'unknown' } },
    'a refusal in foreign words': { step: { status: 400, body: '<p>400</p>' }, outcome: { class: 'unknown' } },
  },
  async start() {
    const fake = await startMailgunFake();
    return {
      createProvider: ({ timeoutMs = 10_000, credentials } = {}) =>
        createMailgunProvider({
          apiKey: credentials === 'wrong' ? 'key-wrong' : fake.apiKey,
          domain: fake.domain,
          baseUrl: fake.url,
          from: FROM,
          timeoutMs,
        }),
      script: fake.script.set,
      hang: 'hang',
      echo: 'echo',
      secrets: [fake.apiKey, Buffer.from(`api:${fake.apiKey}`).toString('base64')],
      requests: fake.script.requests,
      received: fake.script.requests,
      accepted: async (address) => fake.accepted(address),
      open: fake.open,
      stop: fake.stop,
    };
  },
};

const smtpCases: Subject<SmtpStep>['cases'] = {
  'a failure that passes': { step: { toMessage: '451 4.3.0 try later' }, outcome: { class: 'transient' } },
  'too many requests': { step: { toRecipient: '421 4.7.0 too fast' }, outcome: { class: 'transient' } },
  'a message refused for good': {
    step: { toMessage: '554 5.7.1 spam' },
    outcome: { class: 'permanent', reason: '554 5.7.1 spam' },
  },
  'a mailbox that is full': { step: { toRecipient: '552 5.2.2 over quota' }, outcome: { class: 'permanent' } },
  'a mailbox that is disabled': { step: { toRecipient: '550 5.2.1 disabled' }, outcome: { class: 'permanent' } },
  'an address that is dead': { step: { toRecipient: '550 5.1.1 no such user' }, outcome: { class: 'address_dead' } },
  'a daily limit': { step: { toMessage: '550 5.4.5 daily limit exceeded' }, outcome: { class: 'transient' } },
  'a refusal of our credentials': { step: { toRecipient: '530 5.7.0 log in' }, outcome: { class: 'configuration' } },
  'a sender without DKIM': { step: { toMessage: '550 5.7.26 unauthenticated' }, outcome: { class: 'configuration' } },
  'a connection cut before acceptance': { step: 'reset_before', outcome: { class: 'transient' } },
  'a connection cut after acceptance': { step: 'reset', outcome: { class: 'unknown' } },
  'an answer that nobody foresaw': {
    step: { toMessage: '399 what is this' },
    outcome: { class: 'unknown', reason: '399 what is this' },
  },
};

export const smtp: Subject<SmtpStep> = {
  name: 'smtp',
  cases: smtpCases,
  async start() {
    const password = 'p@ss wörd';
    const inUrl = encodeURIComponent(password).toLowerCase();
    const logins = [inUrl, encodeURIComponent(password), toBase64(password), toBase64(`\0herald\0${password}`)];
    const fake = await startScriptedSmtp({
      login: { method: 'PLAIN', isRight: (login) => login.username === 'herald' && login.password === password },
    });
    return {
      ...toRunning(fake),
      createProvider: ({ timeoutMs = 10_000, credentials } = {}) => {
        const url = new URL(fake.url);
        url.username = 'herald';
        url.password = credentials === 'wrong' ? 'wrong' : inUrl;
        return createSmtpProvider({ url: url.href, from: FROM, connections: 5, timeoutMs, dkim: null, ca: null });
      },
      echo: { toMessage: `554 5.7.1 not with ${logins.join(' ')}` },
      secrets: [password, ...logins],
    };
  },
};

export const gmail: Subject<SmtpStep> = {
  name: 'gmail',
  cases: smtpCases,
  async start() {
    const certificate = await createCertificate();
    const fake = await startGmailFake(certificate);
    const { smtp: server, user, clientId, clientSecret, refreshToken, tokenUrl } = fake;
    const secrets = () => {
      // The first token is that of the suite's own provider.
      const [token = ''] = fake.accessTokens();
      return [refreshToken, clientSecret, token, toBase64(`user=${user}\x01auth=Bearer ${token}\x01\x01`)];
    };
    return {
      ...toRunning(server),
      createProvider: ({ timeoutMs = 10_000, credentials } = {}) =>
        createGmailProvider({
          user,
          clientId,
          clientSecret,
          refreshToken: credentials === 'wrong' ? '1//wrong' : refreshToken,
          smtpUrl: server.url,
          tokenUrl,
          from: FROM,
          connections: 5,
          timeoutMs,
          ca: certificate.cert,
        }),
      get echo() {
        return { toMessage: `554 5.7.1 not with ${secrets().join(' ')}` };
      },
      get secrets() {
        return secrets();
      },
      open: fake.open,
      stop: fake.stop,
    };
  },
};

const toBase64 = (text: string) => Buffer.from(text).toString('base64');

/** smtp-server and mailparser show a domain in Unicode, however it came. */
const toRunning = (fake: ScriptedSmtp) => ({
  script: (address: string, ...steps: SmtpStep[]) => fake.script(address, ...steps),
  hang: 'hang' as const,
  requests: fake.requests,
  received: fake.received,
  accepted: (address: string) =>
    Promise.all(fake.sources(toUnicode(address)).map(async (source) => toReceivedMail(await simpleParser(source)))),
  open: fake.open,
  stop: fake.stop,
});

function toReceivedMail(mail: ParsedMail): ReceivedMail {
  const header = (name: string) => {
    const line = mail.headerLines.find(({ key }) => key === name)?.line;
    return line === undefined ? null : line.slice(name.length + 1).trim();
  };
  return {
    from: toMailbox(mail.from),
    to: toMailbox(Array.isArray(mail.to) ? mail.to[0] : mail.to),
    subject: mail.subject ?? '',
    // A mail's lines end somehow; what was sent has no last line break.
    html: (mail.html || '').trimEnd(),
    text: (mail.text ?? '').trimEnd(),
    messageId: mail.messageId ?? '',
    listUnsubscribe: header('list-unsubscribe'),
    listUnsubscribePost: header('list-unsubscribe-post'),
    notificationId: null,
    isTracked: false,
  };
}

const toMailbox = (field: AddressObject | undefined) =>
  toAsciiMailbox({ name: field?.value[0]?.name ?? '', address: field?.value[0]?.address ?? '' });

const toUnicode = (address: string) => address.replace(/[^@]+$/, (domain) => domainToUnicode(domain));
