import { startHttp } from './http.ts';
import { createMailStore } from './mail-store.ts';
import { createPushMessages, type PushMessages } from './push-messages.ts';
import { startSmtp } from './smtp.ts';

/** A mailbox for development: takes every mail over SMTP and shows it at `url`. Nothing leaves it. */
export type Mailbox = { smtpUrl: string; url: string; stop(): Promise<void> };

type Options = {
  smtpPort: number;
  httpPort: number;
  host: string;
  dataDir?: string;
  pushDir?: string;
  log: (line: string) => void;
  pushMessages?: PushMessages;
};

/**
 * Starts the mailbox: an SMTP server without login, Mailpit's read API and a page to look at mails and push messages.
 * @param smtpPort 0 takes a free one, as for `httpPort`
 * @param host the address to listen on, for example 127.0.0.1
 * @param dataDir keeps the mails over restarts, as .eml files; without it they live in memory
 * @param pushDir keeps the push messages over restarts, in the same way
 * @param pushMessages where the push messages are kept, to share them with a sandbox in the same process
 * @throws Error that names the port when one is taken
 */
export async function startMailbox({
  smtpPort,
  httpPort,
  host,
  dataDir,
  pushDir,
  log,
  pushMessages,
}: Options): Promise<Mailbox> {
  const mails = await createMailStore({ dataDir, log });
  const pushes = pushMessages ?? (await createPushMessages(pushDir));
  const smtp = await startSmtp({ port: smtpPort, host, mails, log });
  try {
    const http = await startHttp({ port: httpPort, host, mails, pushes, log });
    return {
      smtpUrl: smtp.url,
      url: http.url,
      stop: async () => {
        await smtp.stop();
        await http.stop();
      },
    };
  } catch (error) {
    await smtp.stop();
    throw error;
  }
}
