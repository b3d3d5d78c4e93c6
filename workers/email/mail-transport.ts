import { createPrivateKey } from 'node:crypto';
import type { Readable } from 'node:stream';
import { createTransport, type PluginFunction } from 'nodemailer';
import type { EmailMessage } from '../../contracts/message.ts';
import type { SendContext, SendOutcome } from '../provider.ts';
import { withoutSecrets } from '../reason.ts';
import { untilAborted } from '../../platform/lifecycle.ts';
import { classifySmtpError } from './classify-smtp-error.ts';
import { faultOfHeaders, toAsciiMailbox, toListHeaders, toMessageId, type Mailbox } from './mail-headers.ts';
import { mustUseTls } from './must-use-tls.ts';

export type Dkim = { domain: string; selector: string; privateKey: string };

export type MailTransport = {
  send(message: EmailMessage, context: SendContext): Promise<SendOutcome>;
  /** Connects and logs in. Resolves to null when that went well, else to what went wrong. */
  probe(signal: AbortSignal): Promise<SendOutcome | null>;
  stop(): Promise<void>;
};

/** Gets the access token for a login by XOAUTH2; `renew`: the one in use was refused. */
export type GetAccessToken = (renew: boolean) => Promise<{ token: string; expiresAt: number }>;

const MAX_CONNECT_MS = 5_000;

/**
 * Creates a pool of kept SMTP connections. It hands each mail over once and never repeats one.
 * @param options.connections the most at a time; no more sends than this may run at once
 * @param options.timeoutMs for a whole send
 * @param options.oauth how to log in without a password
 * @param options.ca PEM, trusted instead of the public authorities
 * @param options.secrets what must not stand in a reason, as of now
 */
export function createMailTransport(options: {
  url: string;
  from: Mailbox;
  connections: number;
  timeoutMs: number;
  oauth: { user: string; getAccessToken: GetAccessToken } | null;
  dkim: Dkim | null;
  ca: string | null;
  secrets: () => readonly string[];
}): MailTransport {
  const { timeoutMs, oauth, dkim } = options;
  const from = toAsciiMailbox(options.from);
  const transport = createTransport({
    url: options.url,
    pool: true,
    maxConnections: options.connections,
    // A kept connection costs nothing; a new one costs a greeting (100 ms at some servers).
    maxMessages: Infinity,
    // A message that nodemailer sends again by itself is one that nobody counts.
    maxRequeues: 0,
    connectionTimeout: Math.min(MAX_CONNECT_MS, timeoutMs),
    greetingTimeout: Math.min(MAX_CONNECT_MS, timeoutMs),
    socketTimeout: timeoutMs,
    socketCloseTimeout: 1_000,
    requireTLS: mustUseTls(options.url),
    disableFileAccess: true,
    disableUrlAccess: true,
    ...(options.ca !== null && { tls: { ca: options.ca } }),
    ...(oauth !== null && { auth: { type: 'OAuth2', user: oauth.user } }),
    ...(dkim !== null && {
      dkim: {
        domainName: dkim.domain,
        keySelector: dkim.selector,
        privateKey: dkim.privateKey,
        headerFieldNames: SIGNED_HEADERS,
      },
    }),
  });
  if (oauth !== null) {
    transport.set('oauth2_provision_cb', (_user, renew, done) => {
      oauth.getAccessToken(renew).then(({ token, expiresAt }) => done(null, token, expiresAt), done);
    });
  }

  const dkimFault = dkim === null ? null : faultOfDkimKey(dkim.privateKey);
  const isHandedOver = watchHandOvers((plugin) => transport.use('stream', plugin));

  return {
    async send(message, { notificationId, signal }) {
      const fault = faultOfHeaders(message);
      if (fault !== null) return { class: 'permanent', reason: fault };
      // nodemailer would send without a signature.
      if (dkimFault !== null) return { class: 'configuration', reason: dkimFault };
      const messageId = toMessageId(notificationId, from);
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      const outcome = await transport
        .sendMail({
          from,
          to: message.to,
          subject: message.subject,
          html: message.html,
          text: message.text,
          messageId,
          headers: toListHeaders(message),
          signal: deadline,
        })
        .then(
          ({ response }): SendOutcome => ({ class: 'accepted', reason: response, providerMessageId: messageId }),
          (error: unknown) => classifySmtpError(error, { isHandedOver: isHandedOver(deadline) }),
        );
      return withoutSecrets(outcome, options.secrets());
    },
    async probe(signal) {
      if (dkimFault !== null) return { class: 'configuration', reason: dkimFault };
      const outcome = await untilAborted(
        transport.verify().then(
          () => null,
          (error: unknown) => classifySmtpError(error, { isHandedOver: false }),
        ),
        signal,
        () => ({ class: 'transient' as const, reason: 'the server did not answer in time' }),
      );
      return outcome === null ? null : withoutSecrets(outcome, options.secrets());
    },
    stop: async () => transport.close(),
  };
}

/** @returns whether any byte of a message went out, by the signal that its send has alone */
function watchHandOvers(use: (plugin: PluginFunction) => unknown): (signal: AbortSignal) => boolean {
  const streams = new WeakMap<AbortSignal, Readable>();
  use(({ data: { signal }, message }, done) => {
    const createReadStream = message.createReadStream.bind(message);
    message.createReadStream = (...options) => {
      const stream = createReadStream(...options);
      if (signal) streams.set(signal, stream);
      return stream;
    };
    done();
  });
  // nodemailer reads nothing of it before the server has asked for the message.
  return (signal) => streams.get(signal)?.readableDidRead ?? false;
}

function faultOfDkimKey(privateKey: string): string | null {
  try {
    const { asymmetricKeyType } = createPrivateKey(privateKey);
    return asymmetricKeyType === 'rsa' ? null : 'DKIM_PRIVATE_KEY must be an RSA key: nodemailer signs with no other';
  } catch {
    return 'DKIM_PRIVATE_KEY is not a private key in PEM form';
  }
}

/** nodemailer's own list lacks List-Unsubscribe-Post, which must be signed (RFC 8058, section 4). */
const SIGNED_HEADERS = [
  'From',
  'Reply-To',
  'Subject',
  'Date',
  'Message-ID',
  'To',
  'MIME-Version',
  'Content-Type',
  'Content-Transfer-Encoding',
  'List-Unsubscribe',
  'List-Unsubscribe-Post',
].join(':');
