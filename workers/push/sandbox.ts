import { PUSH_TOKEN_KINDS, type DeviceMessage } from '../../contracts/message.ts';
import type { Logger } from '../../platform/logger.ts';
import { createAgent, exchange } from '../exchange.ts';
import { toUnanswered } from '../http-outcome.ts';
import type { Provider } from '../provider.ts';
import { toReason } from '../reason.ts';

/**
 * Sends nothing: records what would have been sent at the mailbox's page when `recordUrl` names it; else the log says that there was something.
 */
export const createSandboxProvider = ({
  recordUrl,
  log,
}: {
  recordUrl: string | null;
  log: Logger;
}): Provider<DeviceMessage> => {
  const agent = createAgent({ ca: null, timeoutMs: CONNECT_TIMEOUT_MS });
  return {
    name: 'sandbox',
    takes: PUSH_TOKEN_KINDS,
    async send({ type: _, token, ...content }, { notificationId, signal }) {
      if (recordUrl === null) {
        log.info({ notificationId, tokenId: token.id }, 'the sandbox would have sent this push message');
        return { class: 'accepted', providerMessageId: notificationId };
      }
      const request = {
        url: recordUrl,
        method: 'POST' as const,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ notificationId, tokens: [token.token], ...content }),
      };
      const result = await exchange(agent, request, signal);
      if (result.kind !== 'answered') return toUnanswered(result);
      return result.status < 300
        ? { class: 'accepted', providerMessageId: notificationId }
        : { class: 'transient', reason: toReason(result) };
    },
    async check(signal) {
      if (recordUrl === null) return;
      const result = await exchange(agent, { url: recordUrl, method: 'GET', headers: {}, body: null }, signal);
      const fault = result.kind === 'answered' ? (result.status < 300 ? null : toReason(result)) : result.reason;
      if (fault !== null) throw new Error(`PUSH_SANDBOX_URL ${recordUrl} does not record: ${fault}`);
    },
    stop: () => agent.close(),
  };
};

const CONNECT_TIMEOUT_MS = 5_000;
