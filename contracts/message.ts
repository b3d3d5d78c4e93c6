/** What will be sent, exactly, as it was rendered when the send was accepted. Stored in `content.message`. */
export type EmailMessage = {
  type: 'email';
  to: { name: string; address: string };
  subject: string;
  html: string;
  /** Made from the HTML when the template has none. */
  text: string;
  /** Where a POST ends mails of this template to this user (RFC 8058); null when the template can't be unsubscribed. */
  unsubscribeUrl: string | null;
};

export type PushMessage = {
  type: 'push';
  tokens: PushToken[];
  title: string;
  body: string;
  image: string | null;
  link: string | null;
  data: Record<string, unknown> | null;
  /** How long a push service may keep it for a device that is away. */
  ttlSeconds: number | null;
  /** A newer message of the same key takes this one's place on the device. */
  collapseKey: string | null;
};

export const PUSH_TOKEN_KINDS = ['fcm', 'webpush', 'onesignal'] as const;
export type PushTokenKind = (typeof PUSH_TOKEN_KINDS)[number];

/** `token`: an FCM registration token, a PushSubscription as JSON, or a OneSignal subscription id. */
export type PushToken = { id: string; kind: PushTokenKind; token: string };

/** The devices that are not dead, of those that the user subgraph tells. */
export const toLiveTokens = (
  tokens: { id: string; kind: string; token: string; deadAt: string | null }[],
): PushToken[] =>
  tokens
    .filter(({ deadAt }) => deadAt === null)
    // The graph spells kinds in upper case.
    .map(({ id, kind, token }) => ({ id, kind: kind.toLowerCase() as PushTokenKind, token }));

export type Message = EmailMessage | PushMessage;

/** A push message to one of its devices. */
export type DeviceMessage = Omit<PushMessage, 'tokens'> & { token: PushToken };

/** Bytes of a rendered e-mail, as JSON. What a push message may have is the push services' word: push-payload.ts. */
export const MESSAGE_LIMIT_BYTES = 256 * 1024;
