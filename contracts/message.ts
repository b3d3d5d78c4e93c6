/** What will be sent, exactly, as it was rendered when the send was accepted. Stored in `content.message`. */
export type EmailMessage = {
  type: 'email';
  to: { name: string; address: string };
  subject: string;
  html: string;
  text: string | null;
};

export type PushMessage = {
  type: 'push';
  tokens: string[];
  title: string;
  body: string;
  image: string | null;
  link: string | null;
  data: Record<string, unknown> | null;
};

export type Message = EmailMessage | PushMessage;

/** Bytes of a rendered message, as JSON. */
export const MESSAGE_LIMIT_BYTES = { email: 256 * 1024, push: 4 * 1024 } as const;
