import { randomUUID } from 'node:crypto';
import { startScriptedSmtp, type ScriptedSmtp } from '../scripted-smtp.ts';
import { startFakeServer, type FakeRequest, type Reply } from './server.ts';

export type GmailFake = {
  smtp: ScriptedSmtp;
  tokenUrl: string;
  user: string;
  clientId: string;
  clientSecret: string;
  refreshToken: string;
  /** What the token endpoint says instead of giving a token. */
  token: { answer: Reply | null; requests: number };
  /** The tokens that were given end to be taken, as when their user changes the password. */
  revokeTokens(): void;
  /** The tokens that are taken. */
  accessTokens(): string[];
  /** How many connections are open. */
  open(): number;
  stop(): Promise<void>;
};

/** Starts Gmail's SMTP server, which takes a login by XOAUTH2 alone, and the endpoint that gives its tokens; both with TLS. */
export async function startGmailFake(certificate: { key: string; cert: string }): Promise<GmailFake> {
  const user = 'herald@gmail.test';
  const clientId = `${randomUUID()}.apps.googleusercontent.com`;
  const clientSecret = `GOCSPX-${randomUUID()}`;
  const refreshToken = `1//${randomUUID()}`;
  const tokens = new Set<string>();
  const token: GmailFake['token'] = { answer: null, requests: 0 };

  const smtp = await startScriptedSmtp({
    certificate,
    login: {
      method: 'XOAUTH2',
      isRight: ({ username, accessToken }) => username === user && tokens.has(accessToken ?? ''),
    },
  });

  const giveToken = ({ method, path, headers, body }: FakeRequest): Reply => {
    token.requests += 1;
    if (path !== '/token' || method !== 'POST') return { status: 404, body: '<html>Not Found</html>' };
    if (token.answer !== null) return token.answer;
    if (headers['content-type'] !== 'application/x-www-form-urlencoded') return refuse(400, 'invalid_request');
    const form = new URLSearchParams(body.toString());
    const unknown = [...form.keys()].find((name) => !FIELDS.has(name));
    if (unknown !== undefined) return refuse(400, 'invalid_request', `Invalid parameter: ${unknown}`);
    if (form.get('grant_type') !== 'refresh_token') return refuse(400, 'unsupported_grant_type');
    if (form.get('client_id') !== clientId || form.get('client_secret') !== clientSecret)
      return refuse(401, 'invalid_client', 'The OAuth client was not found.');
    if (form.get('refresh_token') !== refreshToken)
      return refuse(400, 'invalid_grant', 'Token has been expired or revoked.');
    const accessToken = `ya29.${randomUUID()}`;
    tokens.add(accessToken);
    const scope = 'https://mail.google.com/';
    return { status: 200, body: { access_token: accessToken, expires_in: 3_599, token_type: 'Bearer', scope } };
  };

  const server = await startFakeServer(giveToken, certificate);
  return {
    smtp,
    tokenUrl: `https://127.0.0.1:${server.port}/token`,
    user,
    clientId,
    clientSecret,
    refreshToken,
    token,
    revokeTokens: () => tokens.clear(),
    accessTokens: () => [...tokens],
    open: () => smtp.open() + server.open(),
    async stop() {
      await smtp.stop();
      await server.stop();
    },
  };
}

const FIELDS = new Set(['grant_type', 'client_id', 'client_secret', 'refresh_token']);

/** RFC 6749, section 5.2. */
const refuse = (status: number, error: string, description?: string): Reply => ({
  status,
  body: { error, ...(description !== undefined && { error_description: description }) },
});
