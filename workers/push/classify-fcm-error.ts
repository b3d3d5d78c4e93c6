import { z } from 'zod';
import { parseRetryAfter } from '../http-outcome.ts';
import type { SendOutcome } from '../provider.ts';
import { toReason } from '../reason.ts';
import type { FirebaseAnswer } from './firebase-http-client.ts';

const MIN_WAIT_SECONDS = 10;
const QUOTA_WAIT_SECONDS = 60;

/**
 * What a failed `send` of firebase-admin says about a hand-over: by FCM's answer (firebase.google.com, ErrorCode), and
 * without one by the moment it failed. Waits are those of Firebase's page "Scale your FCM messages".
 * @param options.isProven whether any device took a message from this account: until then a device of another sender may as
 *   well mean that the account is of a wrong project, and then all devices are
 */
export function classifyFcmError(error: unknown, options: { isProven: boolean }): SendOutcome {
  const { code, message, cause, httpResponse } = toFirebaseError(error);
  if (httpResponse !== undefined) return classifyFcmAnswer(httpResponse, options);
  // The library found a fault before it made a request.
  if (code?.startsWith('messaging/')) return { class: 'permanent', reason: message };
  if (isNotSent(cause)) return { class: 'transient', reason: message, retryAfterSeconds: MIN_WAIT_SECONDS };
  return { class: 'unknown', reason: message };
}

/** Whether FCM says that a device is registered with another sender than ours. */
export const isOfAnotherSender = (error: unknown): boolean => {
  const { success, data } = errorSchema.safeParse(toFirebaseError(error).httpResponse?.data);
  return success && codeOf(data.error) === ANOTHER_SENDER;
};

function classifyFcmAnswer({ status, headers, data }: FirebaseAnswer, options: { isProven: boolean }): SendOutcome {
  const reason = toReason({ status, body: typeof data === 'string' ? data : JSON.stringify(data) });
  const retryAfter = parseRetryAfter(retryAfterSchema.parse(headers)['retry-after']);
  const wait = (floor: number) => Math.max(MIN_WAIT_SECONDS, retryAfter ?? floor);

  if (status === 429) return { class: 'transient', reason, retryAfterSeconds: wait(QUOTA_WAIT_SECONDS) };
  if (status === 500 || status === 503)
    return { class: 'transient', reason, retryAfterSeconds: wait(MIN_WAIT_SECONDS) };
  const { success, data: body } = errorSchema.safeParse(data);
  if (!success) return { class: 'unknown', reason };
  return { class: classOf(status, body.error, options), reason };
}

function classOf(status: number, error: FcmError, { isProven }: { isProven: boolean }): SendOutcome['class'] {
  const code = codeOf(error);
  if (code === 'UNREGISTERED') return 'address_dead';
  if (code === ANOTHER_SENDER) return isProven ? 'address_dead' : 'configuration';
  switch (status) {
    case 400:
      return namesToken(error) ? 'address_dead' : 'permanent';
    case 413:
      return 'permanent';
    // 404 without UNREGISTERED: it is the project that is not there.
    case 401:
    case 403:
    case 404:
      return 'configuration';
    default:
      return 'unknown';
  }
}

const ANOTHER_SENDER = 'SENDER_ID_MISMATCH';

const codeOf = ({ details }: FcmError) => details.find(({ errorCode }) => errorCode !== undefined)?.errorCode ?? '';

/** INVALID_ARGUMENT is said of messages and of tokens. */
const namesToken = ({ message, details }: FcmError) =>
  /registration token/i.test(message) ||
  details.some(({ fieldViolations }) => fieldViolations?.some(({ field }) => field === 'message.token'));

/** Whether the connection failed before a request could go out. */
function isNotSent(cause: unknown): boolean {
  const { success, data } = causeSchema.safeParse(cause);
  if (!success) return false;
  return (
    data.syscall === 'connect' ||
    data.syscall === 'getaddrinfo' ||
    NOT_CONNECTED.has(data.code ?? '') ||
    data.message.includes('before secure TLS connection was established')
  );
}

/** Also codes of an AggregateError, which has no syscall, and of a certificate that was not believed. */
const NOT_CONNECTED = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

const errorSchema = z.object({
  error: z.object({
    message: z.string().default(''),
    details: z
      .array(
        z.object({
          errorCode: z.string().optional(),
          fieldViolations: z.array(z.object({ field: z.string().optional() })).optional(),
        }),
      )
      .default([]),
  }),
});

type FcmError = z.infer<typeof errorSchema>['error'];

const retryAfterSchema = z.object({ 'retry-after': z.string().optional() });

const causeSchema = z.object({ message: z.string(), code: z.string().optional(), syscall: z.string().optional() });

type FirebaseError = { code?: string; message: string; cause?: unknown; httpResponse?: FirebaseAnswer };

const toFirebaseError = (error: unknown): FirebaseError =>
  error instanceof Error ? error : { message: String(error) };
