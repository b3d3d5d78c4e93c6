import { z } from 'zod';
import type { SendOutcome } from './provider.ts';
import type { Answer } from './exchange.ts';

const MAX_CHARACTERS = 8_000;

/** An answer as the operator should see it: whole, so that what nobody foresaw can be understood later. */
export const toReason = ({ status, body }: Pick<Answer, 'status' | 'body'>): string => `${status} ${body}`.trim();

/** An outcome whose reason may be stored and shown. */
export const withoutSecrets = (outcome: SendOutcome, secrets: readonly string[]): SendOutcome =>
  outcome.reason === undefined ? outcome : { ...outcome, reason: cutSecrets(outcome.reason, secrets) };

/**
 * Providers and proxies echo requests, so our secrets are cut out of what they say, also where they stand escaped in JSON or
 * in a URL.
 * @returns at most 8,000 characters; cut only now, as half a secret would be found no more
 */
export function cutSecrets(text: string, secrets: readonly string[]): string {
  return (
    secrets
      .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret.toWellFormed())])
      .filter((form) => form !== '')
      // One may be a part of another.
      .sort((one, other) => other.length - one.length)
      .reduce((rest, form) => rest.replaceAll(form, '[secret]'), text)
      .slice(0, MAX_CHARACTERS)
  );
}

/** The token in an answer that gives one but is not as it should be. */
export const findAccessToken = (body: unknown): string =>
  z.object({ access_token: z.string() }).safeParse(body).data?.access_token ?? '';
