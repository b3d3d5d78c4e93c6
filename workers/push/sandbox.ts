import { request } from 'undici';
import { PUSH_TOKEN_KINDS, type DeviceMessage } from '../../contracts/message.ts';
import type { Logger } from '../../platform/logger.ts';
import type { Provider } from '../provider.ts';

/**
 * Sends nothing: records what would have been sent, at the mailbox's page when `recordUrl` names it, else in the log.
 */
export const createSandboxProvider = ({
  recordUrl,
  log,
}: {
  recordUrl: string | null;
  log: Logger;
}): Provider<DeviceMessage> => ({
  name: 'sandbox',
  takes: PUSH_TOKEN_KINDS,
  async send({ type: _, token, ...content }, { notificationId, signal }) {
    if (recordUrl === null) {
      log.info({ notificationId, title: content.title }, 'the sandbox would have sent this push message');
      return { class: 'accepted', providerMessageId: notificationId };
    }
    try {
      const response = await request(recordUrl, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ notificationId, tokens: [token.token], ...content }),
        signal,
      });
      await response.body.dump();
      if (response.statusCode >= 400)
        return { class: 'transient', reason: `the mailbox answered ${response.statusCode}` };
      return { class: 'accepted', providerMessageId: notificationId };
    } catch (error) {
      return { class: 'transient', reason: error instanceof Error ? error.message : String(error) };
    }
  },
  async check(signal) {
    if (recordUrl === null) return;
    const response = await request(recordUrl, { signal });
    await response.body.dump();
    if (response.statusCode >= 400) throw new Error(`the mailbox at ${recordUrl} answered ${response.statusCode}`);
  },
  stop: async () => {},
});
