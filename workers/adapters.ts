import { z } from 'zod';
import type { NotificationType } from '../contracts/jobs.ts';
import { PUSH_TOKEN_KINDS } from '../contracts/message.ts';
import { apiKey, ConfigError, parseEnv, providerUrl, url, type Env } from '../platform/env.ts';
import type { Logger } from '../platform/logger.ts';
import { createGmailProvider } from './email/gmail.ts';
import { mailFrom } from './email/mail-from.ts';
import type { Dkim } from './email/mail-transport.ts';
import { createMailgunProvider } from './email/mailgun.ts';
import { createSendgridProvider } from './email/sendgrid.ts';
import { smtpUrl, tokenSmtpUrl } from './email/smtp-url.ts';
import { createSmtpProvider } from './email/smtp.ts';
import { pemFile, privateKey, serviceAccount } from './key-files.ts';
import type { Provider, TargetKind } from './provider.ts';
import { createFcmProvider } from './push/fcm.ts';
import { createOneSignalProvider } from './push/onesignal.ts';
import { createSandboxProvider } from './push/sandbox.ts';
import { createWebPushProvider, PUSH_SERVICE_HOSTS } from './push/webpush.ts';

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
      SMTP_URL: smtpUrl.describe('where mail is handed over, smtp://user:password@host:587'),
      MAIL_FROM: mailFrom,
      DKIM_DOMAIN: z.string().optional(),
      DKIM_SELECTOR: z.string().optional(),
      DKIM_PRIVATE_KEY: privateKey.optional(),
      PROVIDER_CA_FILE: pemFile,
    },
    create: (vars, { timeoutMs, concurrency }) =>
      createSmtpProvider({
        url: vars.SMTP_URL,
        from: vars.MAIL_FROM,
        dkim: toDkim(vars),
        // A send that was given up holds its connection until the server answers or the socket times out.
        connections: 2 * concurrency,
        timeoutMs,
        ca: vars.PROVIDER_CA_FILE ?? null,
      }),
  }),
  sendgrid: adapter('email', ['email'], {
    vars: {
      SENDGRID_API_KEY: apiKey('an API key with the permission Mail Send'),
      SENDGRID_BASE_URL: providerUrl,
      MAIL_FROM: mailFrom,
    },
    create: (vars, { timeoutMs }) =>
      createSendgridProvider({
        apiKey: vars.SENDGRID_API_KEY,
        baseUrl: vars.SENDGRID_BASE_URL ?? null,
        from: vars.MAIL_FROM,
        timeoutMs,
      }),
  }),
  mailgun: adapter('email', ['email'], {
    vars: {
      MAILGUN_API_KEY: apiKey('a sending key of the domain, or an account key'),
      MAILGUN_DOMAIN: z.string().describe('the domain that mail is sent from, as Mailgun knows it'),
      MAILGUN_BASE_URL: providerUrl,
      MAIL_FROM: mailFrom,
    },
    create: (vars, { timeoutMs }) =>
      createMailgunProvider({
        apiKey: vars.MAILGUN_API_KEY,
        domain: vars.MAILGUN_DOMAIN,
        baseUrl: vars.MAILGUN_BASE_URL ?? null,
        from: vars.MAIL_FROM,
        timeoutMs,
      }),
  }),
  gmail: adapter('email', ['email'], {
    vars: {
      GMAIL_USER: z.string().describe('the address of the Gmail account that sends'),
      GMAIL_CLIENT_ID: z.string().describe('the OAuth client'),
      GMAIL_CLIENT_SECRET: z.string().describe('its secret'),
      GMAIL_REFRESH_TOKEN: z.string().describe('what the account granted that client, scope https://mail.google.com/'),
      GMAIL_SMTP_URL: tokenSmtpUrl.optional(),
      GMAIL_TOKEN_URL: providerUrl,
      MAIL_FROM: mailFrom,
      PROVIDER_CA_FILE: pemFile,
    },
    create: (vars, { timeoutMs }) =>
      createGmailProvider({
        user: vars.GMAIL_USER,
        clientId: vars.GMAIL_CLIENT_ID,
        clientSecret: vars.GMAIL_CLIENT_SECRET,
        refreshToken: vars.GMAIL_REFRESH_TOKEN,
        smtpUrl: vars.GMAIL_SMTP_URL ?? null,
        tokenUrl: vars.GMAIL_TOKEN_URL ?? null,
        from: vars.MAIL_FROM,
        connections: GMAIL_CONNECTIONS,
        timeoutMs,
        ca: vars.PROVIDER_CA_FILE ?? null,
      }),
  }),
  fcm: adapter('push', ['fcm'], {
    vars: { FCM_SERVICE_ACCOUNT: serviceAccount, FCM_BASE_URL: providerUrl, PROVIDER_CA_FILE: pemFile },
    create: (vars, { timeoutMs, log }) =>
      createFcmProvider({
        serviceAccount: vars.FCM_SERVICE_ACCOUNT,
        baseUrl: vars.FCM_BASE_URL ?? null,
        timeoutMs,
        ca: vars.PROVIDER_CA_FILE ?? null,
        log,
      }),
  }),
  webpush: adapter('push', ['webpush'], {
    vars: {
      VAPID_SUBJECT: z
        .string()
        .describe('who the push services may write to, mailto:ops@example.com or an https:// URL'),
      VAPID_PUBLIC_KEY: z.string().describe('the key that web pages subscribe with, base64url'),
      VAPID_PRIVATE_KEY: z.string().describe('the key that belongs to VAPID_PUBLIC_KEY, base64url'),
      WEBPUSH_ALLOWED_HOSTS: z
        .string()
        .default(PUSH_SERVICE_HOSTS.join(','))
        .transform((text) => text.split(',').map((host) => host.trim())),
      PROVIDER_CA_FILE: pemFile,
    },
    create: (vars, { timeoutMs }) =>
      createWebPushProvider({
        subject: vars.VAPID_SUBJECT,
        publicKey: vars.VAPID_PUBLIC_KEY,
        privateKey: vars.VAPID_PRIVATE_KEY,
        allowedHosts: vars.WEBPUSH_ALLOWED_HOSTS,
        timeoutMs,
        ca: vars.PROVIDER_CA_FILE ?? null,
      }),
  }),
  onesignal: adapter('push', ['onesignal'], {
    vars: {
      ONESIGNAL_APP_ID: z.string().describe('the id of the OneSignal app'),
      ONESIGNAL_API_KEY: apiKey("the app's API key"),
      ONESIGNAL_BASE_URL: providerUrl,
    },
    create: (vars, { timeoutMs }) =>
      createOneSignalProvider({
        appId: vars.ONESIGNAL_APP_ID,
        apiKey: vars.ONESIGNAL_API_KEY,
        baseUrl: vars.ONESIGNAL_BASE_URL ?? null,
        timeoutMs,
      }),
  }),
  sandbox: adapter('push', PUSH_TOKEN_KINDS, {
    vars: { PUSH_SANDBOX_URL: url('http', 'https').optional() },
    create: (vars, { log }) => createSandboxProvider({ recordUrl: vars.PUSH_SANDBOX_URL ?? null, log }),
  }),
};

/** Gmail closes what it finds too many ("432 4.3.2 Concurrent connections"). */
const GMAIL_CONNECTIONS = 5;

/** All three variables, or none. */
function toDkim(vars: {
  DKIM_DOMAIN?: string | undefined;
  DKIM_SELECTOR?: string | undefined;
  DKIM_PRIVATE_KEY?: string | undefined;
}): Dkim | null {
  const { DKIM_DOMAIN: domain, DKIM_SELECTOR: selector, DKIM_PRIVATE_KEY: key } = vars;
  if (domain !== undefined && selector !== undefined && key !== undefined) return { domain, selector, privateKey: key };
  const missing = ['DKIM_DOMAIN', 'DKIM_SELECTOR', 'DKIM_PRIVATE_KEY'].filter(
    (_, place) => [domain, selector, key][place] === undefined,
  );
  if (missing.length < 3)
    throw new ConfigError([
      `${missing.join(' and ')} is not set: DKIM needs DKIM_DOMAIN, DKIM_SELECTOR and DKIM_PRIVATE_KEY, or none of them`,
    ]);
  return null;
}

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
