import type { EmailMessage } from '../../contracts/message.ts';
import type { Provider, SendOutcome } from '../provider.ts';
import type { Mailbox } from './mail-headers.ts';
import { createMailTransport, type Dkim } from './mail-transport.ts';

/**
 * Hands mail to an SMTP server over a pool of kept connections.
 * @param options.url smtp://user:password@host:587, or smtps:// for TLS from the first byte
 * @param options.connections the most at a time; no more sends than this may run at once
 * @param options.dkim how to sign; null when the server signs, or nobody does
 * @param options.ca PEM, trusted instead of the public authorities
 */
export function createSmtpProvider(options: {
  url: string;
  from: Mailbox;
  connections: number;
  timeoutMs: number;
  dkim: Dkim | null;
  ca: string | null;
}): Provider<EmailMessage> {
  const { host, username, password } = new URL(options.url);
  // A URL may be encoded in more ways than one, so the password counts as it stands there too.
  const secrets = [password, ...toSecrets(decodeURIComponent(username), decodeURIComponent(password))];
  const transport = createMailTransport({ ...options, oauth: null, secrets: () => secrets });

  return {
    name: 'smtp',
    takes: ['email'],
    send: transport.send,
    async check(signal) {
      const fault = await transport.probe(signal);
      if (fault !== null) throw new Error(`SMTP would not take mail: ${toMend(fault, host)}`);
    },
    stop: transport.stop,
  };
}

/** The words of a server may hold what it was sent: a password goes as base64, alone or with its user (RFC 4616). */
const toSecrets = (user: string, password: string) =>
  password === '' ? [] : [password, toBase64(password), toBase64(`\0${user}\0${password}`)];

const toBase64 = (text: string) => Buffer.from(text).toString('base64');

const toMend = ({ class: outcomeClass, reason }: SendOutcome, host: string) =>
  outcomeClass === 'configuration'
    ? `${reason}. Correct the login in SMTP_URL, or what the sentence names`
    : `${host}: ${reason}. Check that the mail server runs and that SMTP_URL names its host, port and kind of TLS`;
