import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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

/** A recorded push message, in field names like those of the mails beside it, and as it is kept. */
const pushView = z.object({
  ID: z.string(),
  NotificationID: z.string(),
  Tokens: z.array(z.string()),
  Title: z.string(),
  Body: z.string(),
  Image: z.string().nullable(),
  Link: z.string().nullable(),
  Data: z.record(z.string(), z.unknown()),
  Created: z.string(),
});

export type PushView = z.infer<typeof pushView>;

export type PushMessages = {
  /** Resolves with the message's id once it is kept, on disk too where there is a folder. */
  add(message: PushMessage): Promise<string>;
  /** Newest first. */
  list(start: number, limit: number): PushView[];
  count(): number;
  clear(): Promise<void>;
};

/** Creates a record of the newest 1,000 push messages, with those that the folder holds; without one they live in memory. */
export async function createPushMessages(dataDir?: string): Promise<PushMessages> {
  let messages: PushView[] = dataDir ? await readMessages(dataDir) : []; // newest first
  const drop = async (dropped: PushView[]) => {
    if (dataDir) await Promise.all(dropped.map(({ ID }) => rm(pathOf(dataDir, ID), { force: true })));
  };
  return {
    add: async (message) => {
      const view = toView(message);
      if (dataDir) await writeWhole(pathOf(dataDir, view.ID), JSON.stringify(view));
      // Those that are written at the same time may finish in another order than they came.
      messages = [view, ...messages].sort(newestFirst);
      await drop(messages.splice(MAX_MESSAGES));
      return view.ID;
    },
    list: (start, limit) => messages.slice(start, start + limit),
    count: () => messages.length,
    clear: () => drop(messages.splice(0)),
  };
}

const pathOf = (dataDir: string, id: string): string => join(dataDir, `${id}.json`);

/** By a rename, so that a run that is killed midway leaves no half a message. */
async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.part`, text, { mode: 0o600 });
  await rename(`${path}.part`, path);
}

async function readMessages(dataDir: string): Promise<PushView[]> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const names = await readdir(dataDir);
  const halves = names.filter((name) => name.endsWith('.json.part'));
  await Promise.all(halves.map((name) => rm(join(dataDir, name), { force: true })));
  const kept = names.filter((name) => name.endsWith('.json'));
  const messages = await Promise.all(kept.map((name) => readMessage(join(dataDir, name))));
  return messages.filter((message) => message !== null).sort(newestFirst);
}

/** Null for a file that the machine's end left damaged. */
async function readMessage(path: string): Promise<PushView | null> {
  try {
    return pushView.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return null;
  }
}

/** By id: those sort by time (UUID v7). */
const newestFirst = (a: PushView, b: PushView) => (a.ID < b.ID ? 1 : -1);

const toView = ({ notificationId, tokens, title, body, image, link, data }: PushMessage): PushView => ({
  ID: createId(),
  NotificationID: notificationId,
  Tokens: tokens,
  Title: title,
  Body: body,
  Image: image ?? null,
  Link: link ?? null,
  Data: data ?? {},
  Created: new Date().toISOString(),
});
