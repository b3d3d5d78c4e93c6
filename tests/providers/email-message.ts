import { randomUUID } from 'node:crypto';
import type { EmailMessage } from '../../contracts/message.ts';

/** A mail to an address that no other has, with everything in it that a careless way out would spoil. */
export const toEmailMessage = (fields: Partial<EmailMessage> = {}): EmailMessage => ({
  type: 'email',
  to: { name: 'Ada „Countess“ Lovelace, née Byron', address: `${randomUUID()}@example.com` },
  subject: 'Ihre Rechnung № 7 – 你好 👋, mit einem Betreff, der länger ist als eine Zeile einer Mail sein darf',
  html: '<p>Grüße, <b>Ada</b>: {{not ours}} %recipient.name% 👋</p>',
  text: 'Grüße, Ada: {{not ours}} %recipient.name% 👋',
  unsubscribeUrl: null,
  ...fields,
});
