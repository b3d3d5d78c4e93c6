import type { Message } from '../contracts/message.ts';
import { toCanonicalEmail } from '../platform/text.ts';
import type { TargetKind, TargetMessage } from './provider.ts';

/** One mailbox or device that a notification goes to. `id`: the e-mail address in its one spelling, or the id of the push token. */
export type Target = { id: string; kind: TargetKind; message: TargetMessage };

/** Takes a message apart into one for each of its targets. */
export function toTargets(message: Message): Target[] {
  if (message.type === 'email') return [{ id: toCanonicalEmail(message.to.address), kind: 'email', message }];
  const { tokens, ...rest } = message;
  return tokens.map((token) => ({ id: token.id, kind: token.kind, message: { ...rest, token } }));
}
