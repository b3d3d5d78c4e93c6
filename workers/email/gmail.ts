import type { EmailMessage } from '../../contracts/message.ts';
import { createAgent } from '../exchange.ts';
import type { Provider } from '../provider.ts';
import { createAccessTokens } from './access-token.ts';
import type { Mailbox } from './mail-headers.ts';
import { createMailTransport } from './mail-transport.ts';

const DEFAULT_SMTP_URL = 'smtps://smtp.gmail.com:465';
const DEFAULT_TOKEN_URL = 'https://oauth2.googleapis.com/token';

/**
 * Hands mail to Gmail by SMTP, logged in with an access token (XOAUTH2). Gmail signs it by itself.
 * @param options.user the account's address; `from` must be that or one of its aliases, else Gmail puts it there
 * @param options.smtpUrl another server than smtp.gmail.com, null for that
 * @param options.tokenUrl another server than oauth2.googleapis.com, null for that
 * @param options.connections the most at a time; Gmail allows few
 * @param options.ca PEM, trusted instead of the public authorities
 */
export function createGmailProvider(options: {
  user: string;
  clientId: string;
  clientSecret: string;
  refreshToken: string;
  smtpUrl: string | null;
  tokenUrl: string | null;
  from: Mailbox;
  connections: number;
  timeoutMs: number;
  ca: string | null;
}): Provider<EmailMessage> {
  const { user, clientSecret, refreshToken, timeoutMs, ca } = options;
  const agent = createAgent({ ca, timeoutMs });
  const tokens = createAccessTokens({ ...options, url: options.tokenUrl ?? DEFAULT_TOKEN_URL, agent });
  const transport = createMailTransport({
    url: options.smtpUrl ?? DEFAULT_SMTP_URL,
    from: options.from,
    connections: options.connections,
    timeoutMs,
    oauth: { user, getAccessToken: tokens.get },
    dkim: null,
    ca,
    secrets: () => [clientSecret, refreshToken, ...toLoginSecrets(user, tokens.current())],
  });

  return {
    name: 'gmail',
    takes: ['email'],
    send: transport.send,
    async check(signal) {
      const fault = await transport.probe(signal);
      if (fault === null) return;
      const mend =
        fault.class === 'configuration'
          ? 'Give Herald access to the account again and set GMAIL_REFRESH_TOKEN, and check GMAIL_USER, GMAIL_CLIENT_ID and GMAIL_CLIENT_SECRET'
          : 'Check that this machine may connect to smtp.gmail.com:465 and oauth2.googleapis.com';
      throw new Error(`Gmail would not take mail: ${fault.reason}. ${mend}`);
    },
    async stop() {
      await transport.stop();
      await agent.destroy();
    },
  };
}

/** The token, also in the form that a login has (XOAUTH2). */
const toLoginSecrets = (user: string, token: string) =>
  token === '' ? [] : [token, Buffer.from(`user=${user}\x01auth=Bearer ${token}\x01\x01`).toString('base64')];
