import type { SendOutcome } from './provider.ts';
import type { Answer } from './exchange.ts';

const MAX_CHARACTERS = 8_000;

/** An answer as the operator should see it: whole, so that what nobody foresaw can be understood later. */
export const toReason = ({ status, body }: Pick<Answer, 'status' | 'body'>): string =>
  `${status} ${body}`.trim().slice(0, MAX_CHARACTERS);

/**
 * Providers and proxies echo requests; what they say is stored and shown, so our secrets are cut out of it, also where they
 * stand escaped in JSON.
 */
export function withoutSecrets(outcome: SendOutcome, secrets: readonly string[]): SendOutcome {
  if (outcome.reason === undefined) return outcome;
  const reason = secrets
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)])
    .filter((secret) => secret !== '')
    .reduce((text, secret) => text.replaceAll(secret, '[secret]'), outcome.reason);
  return { ...outcome, reason };
}
