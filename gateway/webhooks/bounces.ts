import { createHash } from 'node:crypto';
import { createBearerCheck } from './bearer.ts';
import { parseDsn, type DsnRecipient } from './dsn.ts';
import { malformed, toFeedback, toNotificationId, type Told, type Webhook } from './webhook.ts';

/**
 * Mail that came to the bounce address, whole, as an MTA pipes it to `curl --data-binary @-`. A mail that is no delivery status
 * notification (RFC 3464), such as an absence note, is ignored.
 */
export const createBouncesWebhook = (secret: string): Webhook => ({
  faultOf: createBearerCheck(secret, 'BOUNCE_WEBHOOK_SECRET'),

  parse(body) {
    const dsn = parseDsn(body.toString('utf8'));
    switch (dsn.kind) {
      case 'no mail':
        return malformed('the body must be a mail: headers, an empty line, a body');
      case 'other mail':
        return { kind: 'feedback', events: [], ignored: 1 };
      case 'dsn': {
        const digest = createHash('sha256').update(body).digest('base64url');
        const base = {
          notificationId: toNotificationId(dsn.messageId),
          providerMessageId: dsn.messageId,
          at: Date.parse(dsn.date ?? ''),
        };
        return toFeedback(
          'bounces',
          dsn.recipients.map((recipient, place) => toTold({ ...base, eventId: `${digest}:${place}` }, recipient)),
        );
      }
    }
  },
});

function toTold(
  base: Pick<Told, 'notificationId' | 'providerMessageId' | 'at' | 'eventId'>,
  { action, status, address, diagnostic }: DsnRecipient,
): Told | null {
  const told = { ...base, address, reason: diagnostic ?? status };
  switch (action) {
    case 'failed':
      // Every attempt is over (RFC 3464, 2.3.3), whatever the status.
      return { ...told, kind: 'bounced', isPermanent: true, isAddressDead: isAddressDead(status, diagnostic) };
    case 'delayed':
      return { ...told, kind: 'deferred' };
    case 'delivered':
    case 'relayed':
      return { ...told, kind: 'delivered' };
    default:
      return null;
  }
}

/**
 * Whether a status says that the address is at fault (RFC 3463): subject 1 but for a bad sender, a disabled mailbox, or no more than
 * "permanent". A full mailbox, a size, a spam filter speak of the message.
 */
function isAddressDead(status: string | undefined, diagnostic: string | undefined): boolean {
  // Exim says 5.0.0 of everything; the server's own words know more.
  const inWords = /\b5\.\d{1,3}\.\d{1,3}\b/.exec(diagnostic ?? '')?.[0];
  const known = status === undefined || status === '5.0.0' ? (inWords ?? status) : status;
  return known !== undefined && (/^5\.(0\.|1\.(?![78]$))/.test(known) || known === '5.2.1');
}
