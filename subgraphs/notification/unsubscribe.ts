import { v7 as uuidv7 } from 'uuid';
import type { NotificationStore } from './store.ts';
import type { UnsubscribeLinks } from './unsubscribe-link.ts';

/**
 * Ends a template's mails for the user that a link was made for; doing it again changes nothing. Links are made for
 * unsubscribable templates only, so none can end a password reset.
 * @returns false when the token is no link's of ours
 */
export async function unsubscribe(store: NotificationStore, links: UnsubscribeLinks, token: string): Promise<boolean> {
  const unsubscription = links.parseToken(token);
  if (unsubscription === null) return false;
  await store.insertSuppression({
    id: uuidv7(),
    type: 'email',
    address: null,
    ...unsubscription,
    reason: 'the recipient unsubscribed by the link in a mail',
    createdBy: 'recipient',
  });
  return true;
}
