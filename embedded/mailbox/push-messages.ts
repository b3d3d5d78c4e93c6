import { v7 as createId } from 'uuid';
import { z } from 'zod';

const MAX_MESSAGES = 1_000;

/** What a push sandbox tells about one message: to `POST /api/v1/push`, or to `PushMessages.add`. */
export const pushMessage = z.object({
  notificationId: z.string(),
  tokens: z.array(z.string()),
  title: z.string(),
  body: z.string(),
  image: z.string().nullish(),
  link: z.string().nullish(),
  data: z.record(z.string(), z.unknown()).nullish(),
});

export type PushMessage = z.infer<typeof pushMessage>;

/** A recorded push message, in field names like those of the mails beside it. */
export type PushView = {
  ID: string;
  NotificationID: string;
  Tokens: string[];
  Title: string;
  Body: string;
  Image: string | null;
  Link: string | null;
  Data: Record<string, unknown>;
  Created: Date;
};

export type PushMessages = {
  add(message: PushMessage): string;
  /** Newest first. */
  list(start: number, limit: number): PushView[];
  count(): number;
  clear(): void;
};

/** Creates a record of the newest 1,000 push messages, in memory. */
export function createPushMessages(): PushMessages {
  let messages: PushView[] = []; // newest first
  return {
    add: (message) => {
      const view = toView(message);
      messages = [view, ...messages.slice(0, MAX_MESSAGES - 1)];
      return view.ID;
    },
    list: (start, limit) => messages.slice(start, start + limit),
    count: () => messages.length,
    clear: () => {
      messages = [];
    },
  };
}

const toView = ({ notificationId, tokens, title, body, image, link, data }: PushMessage): PushView => ({
  ID: createId(),
  NotificationID: notificationId,
  Tokens: tokens,
  Title: title,
  Body: body,
  Image: image ?? null,
  Link: link ?? null,
  Data: data ?? {},
  Created: new Date(),
});
