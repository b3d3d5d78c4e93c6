import { sign } from 'node:crypto';
import type { Agent } from 'undici';
import { z } from 'zod';
import { exchange, readJson, type Exchange } from '../exchange.ts';
import { parseRetryAfter } from '../http-outcome.ts';
import type { SendOutcome } from '../provider.ts';
import { cutSecrets, findAccessToken, toReason } from '../reason.ts';

export type ServiceAccount = { project_id: string; client_email: string; private_key: string; token_uri?: string };

export type AccessTokens = {
  /** The token in use, or a new one. Without one nothing can be sent, so a failure is an outcome. */
  get(): Promise<TokenAnswer>;
  /** The token was refused: the next `get` asks for another. */
  forget(): void;
  /** What was given last, to keep it out of what is stored; empty before the first. */
  current(): string;
};

type TokenAnswer =
  { kind: 'token'; token: string; expiresAt: number } | { kind: 'failed'; outcome: SendOutcome & { reason: string } };

const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging';
const DEFAULT_TOKEN_URI = 'https://oauth2.googleapis.com/token';
const LIFETIME_SECONDS = 3_600;
/** A token this close to its end could end on its way. */
const MARGIN_SECONDS = 300;
const MIN_USE_SECONDS = 30;

/**
 * Gets Google's access tokens for a service account (RFC 7523). Sends that wait for one share a request.
 * google-auth-library would do it too, but it ignores `token_uri` and retries unseen.
 */
export function createAccessTokens(account: ServiceAccount, agent: Agent, timeoutMs: number): AccessTokens {
  let pending: Promise<TokenAnswer> | null = null;
  let token = '';

  const get = async (): Promise<TokenAnswer> => {
    const asked = (pending ??= ask(account, agent, timeoutMs).catch(() => NOT_ASKED));
    const answer = await asked;
    if (answer.kind === 'token' && answer.expiresAt > Date.now()) {
      token = answer.token;
      return answer;
    }
    if (pending === asked) pending = null;
    return answer.kind === 'failed' ? answer : get();
  };

  return {
    get,
    forget: () => {
      pending = null;
    },
    current: () => token,
  };
}

async function ask(account: ServiceAccount, agent: Agent, timeoutMs: number): Promise<TokenAnswer> {
  const url = account.token_uri ?? DEFAULT_TOKEN_URI;
  let assertion: string;
  try {
    assertion = signAssertion(account, url);
  } catch {
    // OpenSSL's words could quote the key.
    return failed('configuration', 'the private_key of the service account is not a PEM key');
  }
  const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const answer = await exchange(agent, { url, method: 'POST', headers, body }, AbortSignal.timeout(timeoutMs));
  return readToken(answer, assertion);
}

function readToken(answer: Exchange, assertion: string): TokenAnswer {
  if (answer.kind !== 'answered') return failed('transient', `no access token: ${answer.reason}`);
  const given = readJson(answer);
  const granted = tokenSchema.safeParse(given);
  if (answer.status === 200 && granted.success) {
    const seconds = Math.max(granted.data.expires_in - MARGIN_SECONDS, MIN_USE_SECONDS);
    return { kind: 'token', token: granted.data.access_token, expiresAt: Date.now() + seconds * 1_000 };
  }
  const isRefused = answer.status >= 400 && answer.status < 500 && answer.status !== 429;
  const said = cutSecrets(toReason(answer), [assertion, findAccessToken(given)]);
  const { outcome } = failed(isRefused ? 'configuration' : 'transient', `no access token: ${said}`);
  return {
    kind: 'failed',
    outcome: { ...outcome, retryAfterSeconds: parseRetryAfter(answer.headers['retry-after']) },
  };
}

function signAssertion({ client_email, private_key }: ServiceAccount, audience: string): string {
  const now = Math.floor(Date.now() / 1_000);
  const claims = { iss: client_email, scope: SCOPE, aud: audience, iat: now, exp: now + LIFETIME_SECONDS };
  const unsigned = `${toBase64Url({ alg: 'RS256', typ: 'JWT' })}.${toBase64Url(claims)}`;
  return `${unsigned}.${sign('RSA-SHA256', Buffer.from(unsigned), private_key).toString('base64url')}`;
}

/** No request could be made of it; the error could quote it. */
const NOT_ASKED = failed('configuration', 'the token_uri of the service account is not a URL');

const tokenSchema = z.object({ access_token: z.string().min(1), expires_in: z.number() });

const toBase64Url = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

function failed(outcomeClass: 'configuration' | 'transient', reason: string) {
  return { kind: 'failed' as const, outcome: { class: outcomeClass, reason } };
}
