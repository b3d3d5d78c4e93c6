import type { Agent } from 'undici';
import { z } from 'zod';
import { exchange, readJson, type Exchange } from '../exchange.ts';
import { cutSecrets, findAccessToken, toReason } from '../reason.ts';
import type { GetAccessToken } from './mail-transport.ts';

/** A token this close to its end could end on its way. */
const MARGIN_SECONDS = 60;

/**
 * Trades a refresh token for access tokens (RFC 6749, section 6); connections that want one at the same time share it.
 * nodemailer would do it too, but for each connection apart, and following redirects with the secret in hand.
 * @throws Error with the code TOKEN_UNREACHABLE when there is no token for now; without a code when it was refused
 */
export function createAccessTokens(options: {
  url: string;
  clientId: string;
  clientSecret: string;
  refreshToken: string;
  agent: Agent;
  timeoutMs: number;
}): { get: GetAccessToken; current(): string } {
  const secrets = [options.clientSecret, options.refreshToken];
  let current: { token: string; expiresAt: number } | null = null;
  let pending: Promise<{ token: string; expiresAt: number }> | null = null;

  const ask = async () => {
    const answer = await exchange(options.agent, toRequest(options), AbortSignal.timeout(options.timeoutMs));
    current = readToken(answer, secrets);
    return current;
  };
  return {
    async get(renew) {
      if (!renew && current !== null && current.expiresAt > Date.now()) return current;
      pending ??= ask().finally(() => {
        pending = null;
      });
      return pending;
    },
    /** What was given last, to keep it out of what is stored; empty before the first. */
    current: () => current?.token ?? '',
  };
}

const toRequest = (options: { url: string; clientId: string; clientSecret: string; refreshToken: string }) => ({
  url: options.url,
  method: 'POST' as const,
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: options.clientId,
    client_secret: options.clientSecret,
    refresh_token: options.refreshToken,
  }).toString(),
});

function readToken(answer: Exchange, secrets: readonly string[]): { token: string; expiresAt: number } {
  if (answer.kind !== 'answered') throw unreachable(answer.reason);
  const body = readJson(answer);
  const granted = grantSchema.safeParse(body);
  if (answer.status === 200 && granted.success) {
    const seconds = Math.max(granted.data.expires_in - MARGIN_SECONDS, 1);
    return { token: granted.data.access_token, expiresAt: Date.now() + seconds * 1_000 };
  }
  const reason = cutSecrets(toReason(answer), [...secrets, findAccessToken(body)]);
  const refused = refusalSchema.safeParse(body);
  const isRefused = answer.status >= 400 && answer.status < 500 && answer.status !== 429 && refused.success;
  throw isRefused ? new Error(`no access token: ${reason}`) : unreachable(reason);
}

const unreachable = (reason: string) =>
  Object.assign(new Error(`no access token for now: ${reason}`), { code: 'TOKEN_UNREACHABLE' });

const grantSchema = z.object({ access_token: z.string().min(1), expires_in: z.number() });
const refusalSchema = z.object({ error: z.string() });
