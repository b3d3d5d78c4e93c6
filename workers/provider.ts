import type { Message } from '../contracts/message.ts';
import type { OutcomeClass } from '../contracts/report.ts';

/**
 * A way out to one provider. `send` never rejects for what a provider or a network may do: it says what is known of the
 * hand-over. `unknown` means that the provider may have accepted it.
 */
export type Provider<M extends Message = Message> = {
  name: string;
  send(message: M, context: SendContext): Promise<SendOutcome>;
  stop(): Promise<void>;
};

export type SendContext = {
  notificationId: string;
  /** Aborted when the provider's time is up. */
  signal: AbortSignal;
};

export type SendOutcome = {
  class: Exclude<OutcomeClass, 'not_sent'>;
  /** What the provider said, for the operator. */
  reason?: string;
  retryAfterSeconds?: number;
  providerMessageId?: string;
};
