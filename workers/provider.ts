import type { DeviceMessage, EmailMessage, PushTokenKind } from '../contracts/message.ts';
import type { OutcomeClass } from '../contracts/report.ts';

/** What a message goes to: a mailbox, or a device reached in one of three ways. */
export type TargetKind = 'email' | PushTokenKind;

/** A message to one mailbox or one device. */
export type TargetMessage = EmailMessage | DeviceMessage;

/**
 * A way out to one provider. `send` never rejects for what a provider or a network may do: it says what is known of the
 * hand-over. `unknown` means that the provider may have accepted it. It never repeats a hand-over by itself.
 */
export type Provider<M extends TargetMessage = TargetMessage> = {
  name: string;
  takes: readonly TargetKind[];
  send(message: M, context: SendContext): Promise<SendOutcome>;
  /** Asks the provider, without sending anything, whether it would take messages from us. Rejects with what is wrong and the mend. */
  check(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
};

export type SendContext = {
  notificationId: string;
  /** For the log; null when it is not known any more. */
  correlationId?: string | null;
  /** Aborted when the provider's time is up. */
  signal: AbortSignal;
};

export type SendOutcome = {
  class: Exclude<OutcomeClass, 'not_sent'>;
  /** What the provider said, for the operator; an answer that nobody foresaw is here whole. */
  reason?: string;
  retryAfterSeconds?: number;
  providerMessageId?: string;
};
