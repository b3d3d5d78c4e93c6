import { v7 as uuidv7 } from 'uuid';
import { Overloaded } from '../../platform/batch.ts';
import { isConnectionLost } from '../../platform/postgres.ts';
import { refuse, unavailable, type Refusal } from '../../platform/refusal.ts';
import { ServiceUnavailable } from '../../platform/service-client.ts';
import { toCanonicalEmail } from '../../platform/text.ts';
import type { SignedContext } from '../../platform/trust.ts';
import { chooseLocale } from '../rendering/choose-locale.ts';
import { renderMessage } from '../rendering/render-message.ts';
import type { SendNotificationInput } from './generated/graphql.ts';
import { faultOfTimes, parseSend, type ParsedSend } from './parse-send.ts';
import type { Peers, Recipient, TemplateVersion } from './peers.ts';
import type { AcceptedKey, NewNotification, NotificationRow, NotificationStore } from './store.ts';
import type { UnsubscribeLinks } from './unsubscribe-link.ts';

export type SendDependencies = {
  store: NotificationStore;
  peers: Peers;
  links: UnsubscribeLinks;
  /** Called after the commit of a new one. */
  onAccepted: (type: NewNotification['type']) => void;
};

export type Sent = { kind: 'sent'; notification: NotificationRow; duplicate: boolean };

/** Seconds a client should wait when another service is away. */
const RETRY_AFTER_SECONDS = 2;

/**
 * Accepts a notification: when this resolves with `sent`, it is on disk.
 */
export async function sendNotification(
  deps: SendDependencies,
  input: SendNotificationInput,
  { viewer, requestId: correlationId }: SignedContext,
): Promise<Sent | Refusal> {
  const send = parseSend(input);
  if (send.kind === 'refused') return send;
  try {
    return await accept(deps, send, { clientId: viewer.id, correlationId });
  } catch (error) {
    // At COMMIT nobody knows whether it was stored; the same requestId finds out.
    if (isConnectionLost(error) || error instanceof Overloaded)
      return unavailable('PostgreSQL is away or overloaded: repeat with the same requestId', RETRY_AFTER_SECONDS);
    throw error;
  }
}

async function accept(
  { store, peers, links, onAccepted }: SendDependencies,
  send: ParsedSend,
  { clientId, correlationId }: { clientId: string; correlationId: string },
): Promise<Sent | Refusal> {
  // Asked together: a new send needs all three, and a known one must neither wait for nor fail with a service that is away.
  const asked = Promise.all([
    orRefusal(peers.findRecipient({ key: send.userId, requestId: correlationId }), 'user'),
    orRefusal(peers.findPublished({ key: send.templateCode, requestId: correlationId }), 'template'),
  ]);
  asked.catch(() => {});
  const known = await store.findKey({ clientId, requestId: send.requestId });
  if (known !== null) return answerKnown(store, send, known);
  const late = faultOfTimes(send, new Date());
  if (late !== null) return late;
  const [recipient, template] = await asked;
  if (isRefused(recipient)) return recipient;
  if (isRefused(template)) return template;

  const row = toRow(send, recipient, template, links, { clientId, correlationId });
  if ('kind' in row) return row;
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

async function answerKnown(store: NotificationStore, send: ParsedSend, known: AcceptedKey): Promise<Sent | Refusal> {
  if (known.hash.toString('hex') !== send.hash) {
    return refuse(
      'CONFLICT',
      'requestId was used before for a send with other content; use a new one',
      'requestId',
      'REQUEST_ID_REUSED',
    );
  }
  const notification = await store.findNotification(known.id);
  if (notification === null)
    return refuse('CONFLICT', 'requestId belongs to a notification that is no longer kept', 'requestId', 'GONE');
  return { kind: 'sent', notification, duplicate: true };
}

function toRow(
  send: ParsedSend,
  recipient: Recipient | null,
  template: TemplateVersion | null,
  links: UnsubscribeLinks,
  { clientId, correlationId }: { clientId: string; correlationId: string },
): NewNotification | Refusal {
  if (recipient === null) return noSuchUser;
  if (template === null)
    return refuse('NOT_FOUND', 'templateCode: there is no such template', 'templateCode', 'NOT_FOUND');

  const { locale } = chooseLocale(
    template.contents.map((content) => content.locale),
    send.locale,
    recipient.locale,
    template.defaultLocale,
  );
  const content = template.contents.find((candidate) => candidate.locale === locale);
  if (content === undefined)
    return refuse('UNPROCESSABLE', 'templateCode names a template without content', 'templateCode', 'NO_CONTENT');
  const unsubscribeUrl = template.unsubscribable ? links.toUrl(send) : null;
  const message = renderMessage(send, recipient, content, unsubscribeUrl);
  if ('kind' in message) return message;

  return {
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
  };
}

const noSuchUser = refuse('NOT_FOUND', 'userId: there is no such user', 'userId', 'NOT_FOUND');

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

const orRefusal = <T>(asked: Promise<T>, service: string): Promise<T | Refusal> =>
  asked.catch((error: unknown) => {
    if (error instanceof ServiceUnavailable)
      return unavailable(
        `the ${service} service is away; nothing was stored, repeat with the same requestId`,
        RETRY_AFTER_SECONDS,
      );
    throw error;
  });

const isRefused = <T extends object | null>(value: T | Refusal): value is Refusal => value !== null && 'kind' in value;
