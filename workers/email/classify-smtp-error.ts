import type { SendOutcome } from '../provider.ts';

/**
 * What an error of nodemailer says about a hand-over: by the reply's code and enhanced status (RFC 5321, RFC 3463), and
 * without a reply by the moment it failed.
 * @param isHandedOver whether any byte of the message went to the server; nodemailer gives the same error before and after
 */
export function classifySmtpError(error: unknown, { isHandedOver }: { isHandedOver: boolean }): SendOutcome {
  const { code, responseCode = 0, response, command = '', originalCode, message } = toSmtpError(error);
  const reason = code === 'EABORT' ? 'the server did not answer in time' : (response ?? message);

  if (responseCode >= 400) {
    const isOfSession = code === 'EAUTH' || code === 'ETLS' || (!isHandedOver && SESSION_COMMANDS.has(command));
    return { class: classOfReply(responseCode, response ?? '', { isOfSession, command }), reason };
  }
  if (code === 'EAUTH' || code === 'ENOAUTH' || code === 'EOAUTH2')
    // An original code is that of a network or a token server that failed: nobody refused us.
    return { class: originalCode === undefined ? 'configuration' : 'transient', reason };
  if (code === 'EENVELOPE' || code === 'EMESSAGE')
    return { class: responseCode === 0 ? 'permanent' : 'unknown', reason };
  return { class: isHandedOver ? 'unknown' : 'transient', reason };
}

function classOfReply(
  replyCode: number,
  reply: string,
  { isOfSession, command }: { isOfSession: boolean; command: string },
): SendOutcome['class'] {
  const status = /\b([245]\.\d{1,3}\.\d{1,3})\b/.exec(reply)?.[1] ?? '';
  if (replyCode === 530 || replyCode === 535 || OUR_STATUSES.has(status)) return 'configuration';
  if (replyCode < 500 || status === QUOTA_OF_SENDER) return 'transient';
  // Refused before there was a message: it is us that the server does not want.
  if (isOfSession) return 'configuration';
  if (ADDRESS_STATUSES.has(status)) return command === 'MAIL FROM' ? 'configuration' : 'address_dead';
  return 'permanent';
}

/** No such mailbox, no such domain, moved without a new address. */
const ADDRESS_STATUSES = new Set(['5.1.1', '5.1.2', '5.1.3', '5.1.6', '5.1.10']);

/** The sender address is no good (RFC 3463), or its domain does not vouch for us. */
const OUR_STATUSES = new Set(['5.1.7', '5.1.8', '5.7.26', '5.7.515']);

/** Gmail's daily limit, which it refuses with a 550. */
const QUOTA_OF_SENDER = '5.4.5';

/** nodemailer's names of the moments before MAIL FROM; CONN is the greeting. */
const SESSION_COMMANDS = new Set(['CONN', 'EHLO', 'HELO', 'LHLO', 'STARTTLS']);

type SmtpError = {
  code?: string;
  originalCode?: string;
  responseCode?: number;
  response?: string;
  command?: string;
  message: string;
};

const toSmtpError = (error: unknown): SmtpError => (error instanceof Error ? error : { message: String(error) });
