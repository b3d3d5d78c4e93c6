import { createTransport } from 'nodemailer';
import type { EmailMessage } from '../../contracts/message.ts';
import type { Provider } from '../provider.ts';
import { classifySmtpError } from './classify-smtp-error.ts';

/**
 * Hands mail to an SMTP server over a pool of kept connections.
 * @param options.connections the most at a time; no more sends than this may run at once
 */
export function createSmtpProvider(options: {
  url: string;
  from: { name: string; address: string };
  connections: number;
  timeoutMs: number;
}): Provider<EmailMessage> {
  const transport = createTransport({
    url: options.url,
    pool: true,
    maxConnections: options.connections,
    // A kept connection costs nothing; a new one costs a greeting (100 ms at some servers).
    maxMessages: Infinity,
    // A message that nodemailer sends again by itself is one that nobody counts.
    maxRequeues: 0,
    connectionTimeout: Math.min(5_000, options.timeoutMs),
    greetingTimeout: Math.min(5_000, options.timeoutMs),
    socketTimeout: options.timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const domain = options.from.address.split('@')[1] ?? 'localhost';

  return {
    name: 'smtp',
    takes: ['email'],
    async send(message, { notificationId, signal }) {
      const sending = transport
        .sendMail({
          from: options.from,
          to: message.to,
          subject: message.subject,
          html: message.html,
          text: message.text,
          // The same for every attempt: receivers may drop the second copy.
          messageId: `<${notificationId}@${domain}>`,
        })
        .then(
          (info) => ({ class: 'accepted' as const, reason: info.response, providerMessageId: info.messageId }),
          classifySmtpError,
        );
      return Promise.race([sending, timeUp(signal)]);
    },
    async check() {
      await transport.verify();
    },
    stop: async () => transport.close(),
  };
}

const timeUp = (signal: AbortSignal) =>
  new Promise<{ class: 'unknown'; reason: string }>((resolve) => {
    const end = () => resolve({ class: 'unknown', reason: 'the server did not answer in time' });
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
