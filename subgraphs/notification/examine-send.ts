import type { Message } from '../../contracts/message.ts';
import { Overloaded } from '../../platform/batch.ts';
import { isConnectionLost } from '../../platform/postgres.ts';
import { isRefusal, refuse, unavailable, type Refusal } from '../../platform/refusal.ts';
import { ServiceUnavailable } from '../../platform/service-client.ts';
import { chooseContent } from '../rendering/choose-locale.ts';
import { renderMessage } from '../rendering/render-message.ts';
import { faultOfTimes, type ParsedSend } from './parse-send.ts';
import type { Asked, Peers, PublishedTemplate, Recipient } from './peers.ts';
import type { AcceptedKey, NotificationRow, NotificationStore } from './store.ts';

/** What is asked of the world before a send is accepted. */
export type SendWorld<Found extends Recipient> = {
  store: Pick<NotificationStore, 'findKey' | 'findNotification'>;
  findRecipient: (asked: Asked) => Promise<Found | null>;
  findPublished: Peers['findPublished'];
  toUnsubscribeUrl: (send: ParsedSend) => string;
};

/** A new send, looked at from all sides: who and what was found, and the message or why there is none. */
export type Examined<Found extends Recipient> = {
  kind: 'examined';
  recipient: Found | null;
  template: PublishedTemplate | null;
  result: Rendered<Found> | Refusal;
};

export type Rendered<Found extends Recipient = Recipient> = {
  kind: 'rendered';
  recipient: Found;
  template: PublishedTemplate;
  locale: string;
  message: Message;
};

export type Sent = { kind: 'sent'; notification: NotificationRow; duplicate: boolean };

/** Seconds a client should wait when another service is away. */
const RETRY_AFTER_SECONDS = 2;

/**
 * Everything that decides whether a send is accepted, and as what; nothing is stored. Sending and explaining both go through here.
 * @returns the first notification when the requestId is known; a refusal when there is nothing to look at
 */
export async function examineSend<Found extends Recipient>(
  { store, findRecipient, findPublished, toUnsubscribeUrl }: SendWorld<Found>,
  send: ParsedSend,
  { clientId, ...asking }: { clientId: string } & Omit<Asked, 'key'>,
): Promise<Examined<Found> | Sent | Refusal> {
  // Asked together: a new send needs all three, and a known one must neither wait for nor fail with a service that is away.
  const asked = Promise.all([
    orRefusal(findRecipient({ key: send.userId, ...asking })),
    orRefusal(findPublished({ key: send.templateCode, ...asking })),
  ]);
  asked.catch(() => {});
  const known = await store.findKey({ clientId, requestId: send.requestId });
  if (known !== null) return answerKnown(store, send, known);
  const late = faultOfTimes(send, new Date());
  if (late !== null) return late;
  const [recipient, template] = await asked;
  if (isRefusal(recipient)) return recipient;
  if (isRefusal(template)) return template;
  return { kind: 'examined', recipient, template, result: render(send, recipient, template, toUnsubscribeUrl) };
}

/** The answer to a requestId that was accepted before. */
export async function answerKnown(
  store: Pick<NotificationStore, 'findNotification'>,
  send: ParsedSend,
  known: AcceptedKey,
): Promise<Sent | Refusal> {
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

/** The language for this send, and why it was chosen; null for a template without content in any that fits. */
export const chooseFor = (send: ParsedSend, recipient: Recipient, { contents, defaultLocale }: PublishedTemplate) =>
  chooseContent(contents, send.type, { asked: send.locale, users: recipient.locale, fallback: defaultLocale });

export const noSuchUser = refuse('NOT_FOUND', 'userId: there is no such user', 'userId', 'NOT_FOUND');

/** With PostgreSQL away or overloaded: a refusal. */
export const orUnavailable = <T>(work: Promise<T>): Promise<T | Refusal> =>
  work.catch((error: unknown) => {
    if (isConnectionLost(error) || error instanceof Overloaded)
      return unavailable('PostgreSQL is away or overloaded: repeat with the same requestId', RETRY_AFTER_SECONDS);
    throw error;
  });

function render<Found extends Recipient>(
  send: ParsedSend,
  recipient: Found | null,
  template: PublishedTemplate | null,
  toUnsubscribeUrl: (send: ParsedSend) => string,
): Rendered<Found> | Refusal {
  if (recipient === null) return noSuchUser;
  if (template === null)
    return refuse('NOT_FOUND', 'templateCode: there is no such template', 'templateCode', 'NOT_FOUND');
  const chosen = chooseFor(send, recipient, template);
  if (chosen === null)
    return refuse('UNPROCESSABLE', 'templateCode names a template without content', 'templateCode', 'NO_CONTENT');
  const { content } = chosen;
  const message = renderMessage(send, recipient, {
    content,
    declaredVariables: template.declaredVariables,
    unsubscribeUrl: template.unsubscribable ? toUnsubscribeUrl(send) : null,
  });
  return 'kind' in message ? message : { kind: 'rendered', recipient, template, locale: content.locale, message };
}

const orRefusal = <T>(asked: Promise<T>): Promise<T | Refusal> =>
  asked.catch((error: unknown) => {
    if (error instanceof ServiceUnavailable)
      return unavailable(
        'a service that this needs is away; nothing was stored, repeat with the same requestId',
        RETRY_AFTER_SECONDS,
      );
    throw error;
  });
