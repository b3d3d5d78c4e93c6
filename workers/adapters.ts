import type { z } from 'zod';
import type { NotificationType } from '../contracts/jobs.ts';
import { PUSH_TOKEN_KINDS } from '../contracts/message.ts';
import { parseEnv, url, type Env } from '../platform/env.ts';
import type { Logger } from '../platform/logger.ts';
import { mailFrom } from './email/mail-from.ts';
import { createSmtpProvider } from './email/smtp.ts';
import type { Provider, TargetKind } from './provider.ts';
import { createSandboxProvider } from './push/sandbox.ts';

/** What every provider gets, whatever its variables. */
export type AdapterOptions = {
  timeoutMs: number;
  /** The most hand-overs at a time. */
  concurrency: number;
  log: Logger;
};

/** A provider as the worker may choose it: the variables it needs, and how they make one. */
export type Adapter = {
  type: NotificationType;
  takes: readonly TargetKind[];
  /** @throws ConfigError that names each faulty variable */
  create(env: Env, options: AdapterOptions): Provider;
};

/** The table of all providers, by the name that EMAIL_PROVIDERS and PUSH_PROVIDERS know them by. */
export const adapters: Record<string, Adapter> = {
  smtp: adapter('email', ['email'], {
    vars: {
      SMTP_URL: url('smtp', 'smtps').describe('where mail is handed over, smtp://user:password@host:587'),
      MAIL_FROM: mailFrom,
    },
    create: (vars, { timeoutMs, concurrency }) =>
      createSmtpProvider({
        url: vars.SMTP_URL,
        from: vars.MAIL_FROM,
        // A send that was given up holds its connection until the server answers or the socket times out.
        connections: 2 * concurrency,
        timeoutMs,
      }),
  }),
  sandbox: adapter('push', PUSH_TOKEN_KINDS, {
    vars: { PUSH_SANDBOX_URL: url('http', 'https').optional() },
    create: (vars, { log }) => createSandboxProvider({ recordUrl: vars.PUSH_SANDBOX_URL ?? null, log }),
  }),
};

/** Keeps the type of each provider's variables while the table stays one list. */
function adapter<Vars extends z.ZodRawShape>(
  type: NotificationType,
  takes: readonly TargetKind[],
  {
    vars,
    create,
  }: {
    vars: Vars;
    create: (vars: z.infer<z.ZodObject<Vars>>, options: AdapterOptions) => Provider;
  },
): Adapter {
  return { type, takes, create: (env, options) => create(parseEnv(vars, env), options) };
}
