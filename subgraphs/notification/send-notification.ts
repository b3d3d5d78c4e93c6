import { v7 as uuidv7 } from 'uuid';
import { isRefusal, refuse, type Refusal } from '../../platform/refusal.ts';
import { toCanonicalEmail } from '../../platform/text.ts';
import { leftOf } from '../../platform/deadline.ts';
import type { SubgraphContext } from '../serve.ts';
import { answerKnown, examineSend, noSuchUser, orUnavailable, type Rendered, type Sent } from './examine-send.ts';
import type { SendNotificationInput } from './generated/graphql.ts';
import { parseSend, type ParsedSend } from './parse-send.ts';
import type { Asked, Peers } from './peers.ts';
import type { NewNotification, NotificationRow, NotificationStore } from './store.ts';
import type { UnsubscribeLinks } from './unsubscribe-link.ts';

export type SendDependencies = {
  store: NotificationStore;
  peers: Peers;
  links: UnsubscribeLinks;
  /** Whether the steps to come belong to the trace of the acceptance. */
  isTraced: boolean;
  /** Called after the commit of a new one. */
  onAccepted: (type: NewNotification['type']) => void;
};

/**
 * Accepts a notification: when this resolves with `sent`, it is on disk.
 */
export async function sendNotification(
  deps: SendDependencies,
  input: SendNotificationInput,
  { viewer, requestId, correlationId = requestId, trace, deadline }: SubgraphContext,
): Promise<Sent | Refusal> {
  const send = parseSend(input);
  if (send.kind === 'refused') return send;
  // At COMMIT nobody knows whether it was stored; the same requestId finds out.
  return orUnavailable(accept(deps, send, { clientId: viewer.id, requestId, correlationId, trace, deadline }));
}

async function accept(
  { store, peers, links, isTraced, onAccepted }: SendDependencies,
  send: ParsedSend,
  sender: { clientId: string; correlationId: string } & Omit<Asked, 'key'>,
): Promise<Sent | Refusal> {
  const examined = await examineSend({ store, ...peers, toUnsubscribeUrl: links.toUrl }, send, sender);
  if (examined.kind !== 'examined') return examined;
  if (isRefusal(examined.result)) return examined.result;
  // Nobody waits for the answer any more: so rather nothing than something that nobody knows of.
  if (sender.deadline !== undefined && leftOf(sender.deadline) <= 0) return tooLate;

  const row = toRow(send, examined.result, sender, isTraced ? (sender.trace?.traceparent ?? null) : null);
  const acceptance = await store.accept(row);
  switch (acceptance.kind) {
    case 'new':
      onAccepted(row.type);
      return { kind: 'sent', notification: toNotification(row, acceptance.at), duplicate: false };
    case 'known':
      return answerKnown(store, send, acceptance);
    case 'no_user':
      return noSuchUser;
    case 'failed':
      throw new Error('PostgreSQL refused the notification', { cause: acceptance.error });
  }
}

const tooLate = {
  ...refuse('TIMEOUT', "the request's time was over before anything was stored: repeat it with the same requestId"),
  retryAfterSeconds: 2,
};

const toRow = (
  send: ParsedSend,
  { recipient, template, locale, message }: Rendered,
  { clientId, correlationId }: { clientId: string; correlationId: string },
  trace: string | null,
): NewNotification => ({
  id: uuidv7(),
  clientId,
  requestId: send.requestId,
  hash: send.hash,
  type: send.type,
  userId: send.userId,
  templateCode: send.templateCode,
  templateVersion: template.number,
  locale,
  priority: send.priority,
  onAmbiguous: send.onAmbiguous,
  sendAt: send.sendAt,
  expiresAt: send.expiresAt,
  sensitive: template.sensitive,
  address: message.type === 'email' ? toCanonicalEmail(message.to.address) : null,
  contactVersion: recipient.contactVersion,
  message: JSON.stringify(message),
  metadata: JSON.stringify(send.metadata),
  correlationId,
  trace,
});

/** The row as it stands right after its commit. */
const toNotification = (row: NewNotification, at: Date): NotificationRow => ({
  ...row,
  status: 'pending',
  reason: null,
  version: 1,
  attempts: 0,
  dueAt: row.sendAt !== null && row.sendAt > at ? row.sendAt : at,
  createdAt: at,
  updatedAt: at,
});
