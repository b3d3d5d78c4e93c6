import { CONTROL } from '../../platform/text.ts';
import { domainToASCII } from 'node:url';
import type { EmailMessage } from '../../contracts/message.ts';

export type Mailbox = { name: string; address: string };

/** The same for every attempt: receivers may drop the second copy, and bounces name it. */
export const toMessageId = (notificationId: string, from: Mailbox): string => `<${notificationId}@${domainOf(from)}>`;

/** What makes a mail client show its own unsubscribe button (RFC 8058); nothing where there is nothing to leave. */
export const toListHeaders = ({ unsubscribeUrl }: EmailMessage): Record<string, string> =>
  unsubscribeUrl === null
    ? {}
    : { 'List-Unsubscribe': `<${unsubscribeUrl}>`, 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' };

/** With the domain as DNS knows it: not every server takes it in Unicode. */
export const toAsciiMailbox = ({ name, address }: Mailbox): Mailbox => {
  const at = address.lastIndexOf('@');
  // What has no DNS form stays, for the provider to refuse.
  const domain = domainToASCII(address.slice(at + 1)) || address.slice(at + 1);
  return { name, address: `${address.slice(0, at + 1)}${domain}` };
};

/** A mailbox as text (RFC 5322), for those who take no other form. */
export const toMailboxText = ({ name, address }: Mailbox): string =>
  name === '' ? address : `"${name.replace(/["\\]/g, '\\$&')}" <${address}>`;

/**
 * Whether anything that becomes a header could begin another one. Such a mail is refused: cleaned of its line breaks it
 * would say something that nobody wrote.
 */
export function faultOfHeaders({ to, subject, unsubscribeUrl }: EmailMessage): string | null {
  const values = { subject, 'name of the recipient': to.name, 'address of the recipient': to.address, unsubscribeUrl };
  const [bad] = Object.entries(values).find(([, value]) => value !== null && CONTROL.test(value)) ?? [];
  return bad === undefined ? null : `the ${bad} has a line break or another control character`;
}

const domainOf = (mailbox: Mailbox) => toAsciiMailbox(mailbox).address.split('@').at(-1) ?? 'localhost';
