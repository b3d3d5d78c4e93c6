import type { SendOutcome } from '../provider.ts';

/**
 * What an error of nodemailer says about a hand-over: by the reply's code and enhanced status (RFC 5321, RFC 3463), and
 * without a reply by the moment it failed.
 */
export function classifySmtpError(error: unknown): SendOutcome {
  const { code, responseCode, response, syscall, message } = toSmtpError(error);
  const reason = response ?? message;

  if (responseCode !== undefined) return { class: classOfReply(responseCode, response ?? ''), reason };
  if (code === 'EAUTH' || code === 'ENOAUTH' || code === 'EOAUTH2') return { class: 'configuration', reason };
  if (code === 'EENVELOPE' || code === 'EMESSAGE') return { class: 'permanent', reason };
  // Nothing was handed over yet.
  if (
    code === 'EDNS' ||
    code === 'ETLS' ||
    (code === 'ESOCKET' && syscall === 'connect') ||
    CONNECT_REFUSED.test(message) ||
    /Greeting never received/.test(message)
  ) {
    return { class: 'transient', reason };
  }
  // nodemailer gives the same error before and after DATA.
  return { class: 'unknown', reason };
}

function classOfReply(replyCode: number, reply: string): SendOutcome['class'] {
  const status = /\b([245]\.\d{1,3}\.\d{1,3})\b/.exec(reply)?.[1] ?? '';
  if (replyCode === 530 || replyCode === 535 || status === '5.7.26' || status === '5.7.515') return 'configuration';
  if (replyCode >= 400 && replyCode < 500) return 'transient';
  if (ADDRESS_STATUSES.has(status)) return 'address_dead';
  return 'permanent';
}

/** No such mailbox, no such domain, moved without a new address. */
const ADDRESS_STATUSES = new Set(['5.1.1', '5.1.2', '5.1.3', '5.1.6', '5.1.10']);

const CONNECT_REFUSED = /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH/;

type SmtpError = { code?: string; responseCode?: number; response?: string; syscall?: string; message: string };

const toSmtpError = (error: unknown): SmtpError => (error instanceof Error ? error : { message: String(error) });
