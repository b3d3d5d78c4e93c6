import { randomUUID } from 'node:crypto';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging } from 'firebase-admin/messaging';
import type { DeviceMessage } from '../../contracts/message.ts';
import { faultOfPayload } from '../../contracts/push-payload.ts';
import { untilAborted } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import { createAgent } from '../exchange.ts';
import type { Provider, SendOutcome } from '../provider.ts';
import { withoutSecrets } from '../reason.ts';
import { classifyFcmError, isOfAnotherSender } from './classify-fcm-error.ts';
import { toFcmMessage } from './fcm-message.ts';
import { steerHttpClient } from './firebase-http-client.ts';
import { createAccessTokens, type ServiceAccount } from './google-access-token.ts';

/** Google closes idle connections later than this, so a message hardly ever meets one that is just being closed. */
const IDLE_MS = 30_000;
/** Firebase asks for at least 10 s before anything is tried again. */
const MIN_WAIT_SECONDS = 10;

/**
 * Hands messages to Firebase Cloud Messaging (HTTP v1), one request per device over kept connections.
 * @param options.baseUrl another server than fcm.googleapis.com, null for that
 * @param options.ca PEM, trusted instead of the public authorities
 */
export function createFcmProvider(options: {
  serviceAccount: ServiceAccount;
  baseUrl: string | null;
  timeoutMs: number;
  ca: string | null;
  log: Logger;
}): Provider<DeviceMessage> {
  const { serviceAccount, baseUrl, timeoutMs, log } = options;
  const tokenAgent = createAgent({ ca: options.ca, timeoutMs });
  const tokens = createAccessTokens(serviceAccount, tokenAgent, timeoutMs);
  const keepAlive = { keepAlive: true, timeout: IDLE_MS };
  const httpAgent = baseUrl?.startsWith('http://')
    ? new HttpAgent(keepAlive)
    : new HttpsAgent({ ...keepAlive, ca: options.ca ?? undefined });
  const app = initializeApp(
    {
      projectId: serviceAccount.project_id,
      credential: {
        async getAccessToken() {
          const answer = await tokens.get();
          if (answer.kind === 'failed') throw new Error(answer.outcome.reason);
          // Spent at once in firebase-admin's eyes: the tokens are kept here, where a refused one can be forgotten.
          return { access_token: answer.token, expires_in: 0 };
        },
      },
      httpAgent,
    },
    `herald-${randomUUID()}`,
  );
  const messaging = steerHttpClient(getMessaging(app), { baseUrl, timeoutMs });

  /** A device took a message; a dry run proves nothing, as it goes to none. */
  let isProven = false;

  /** Nothing goes out before there is a token, so what fails until then is known not to have been sent. */
  const sendOnce = async (send: () => Promise<string>, signal: AbortSignal): Promise<SendOutcome> => {
    const answer = await untilAborted(tokens.get(), signal, () => NO_TOKEN);
    if (answer.kind === 'failed') return withFloor(answer.outcome);
    const sending = send().then(
      (name): SendOutcome => ({ class: 'accepted', providerMessageId: name }),
      (error: unknown) => {
        const outcome = classifyFcmError(error, { isProven });
        if (outcome.class === 'configuration') tokens.forget();
        return outcome;
      },
    );
    return untilAborted(sending, signal, () => ({ class: 'unknown', reason: 'FCM did not answer in time' }));
  };
  const deadline = (signal: AbortSignal) => AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const secrets = () => [serviceAccount.private_key, tokens.current()];

  return {
    name: 'fcm',
    takes: ['fcm'],
    async send(message, { notificationId, correlationId, signal }) {
      const fault = faultOfPayload(message, 'fcm');
      if (fault !== null) return { class: 'permanent', reason: fault };
      const toDevice = async () => {
        try {
          const name = await messaging.send(toFcmMessage(message));
          isProven = true;
          return name;
        } catch (error) {
          if (isOfAnotherSender(error))
            log.error(
              {
                provider: 'fcm',
                notificationId,
                correlationId,
                tokenId: message.token.id,
                project: serviceAccount.project_id,
              },
              'a device is registered with another sender than the project of FCM_SERVICE_ACCOUNT',
            );
          throw error;
        }
      };
      const outcome = await sendOnce(toDevice, deadline(signal));
      return withoutSecrets(outcome, secrets());
    },
    async check(signal) {
      // Validated and thrown away; a topic needs no device.
      const dryRun = { topic: 'herald-check', notification: { title: 'Herald' } };
      const outcome = await sendOnce(async () => messaging.send(dryRun, true), deadline(signal));
      if (outcome.class === 'accepted') return;
      const { reason = outcome.class } = withoutSecrets(outcome, secrets());
      throw new Error(
        `FCM would not take messages: ${reason}. Check that FCM_SERVICE_ACCOUNT holds a current key of an account of project ${serviceAccount.project_id} that may send, and that the Cloud Messaging API is enabled there`,
      );
    },
    async stop() {
      await deleteApp(app);
      httpAgent.destroy();
      await tokenAgent.destroy();
    },
  };
}

const NO_TOKEN = {
  kind: 'failed' as const,
  outcome: { class: 'transient' as const, reason: 'no access token: Google did not answer in time' },
};

const withFloor = (outcome: SendOutcome): SendOutcome =>
  outcome.class === 'transient'
    ? { ...outcome, retryAfterSeconds: Math.max(MIN_WAIT_SECONDS, outcome.retryAfterSeconds ?? 0) }
    : outcome;
