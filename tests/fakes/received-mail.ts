/** A mail that a fake accepted, whatever way it came: as its reader would see it. */
export type ReceivedMail = {
  from: { name: string; address: string };
  to: { name: string; address: string };
  subject: string;
  html: string;
  text: string;
  messageId: string;
  /** `null` where there is no such header. */
  listUnsubscribe: string | null;
  listUnsubscribePost: string | null;
  /** What comes back in the provider's events; null where it has no such thing. */
  notificationId: string | null;
  /** Whether the provider would rewrite its links or count its openings. */
  isTracked: boolean;
};
