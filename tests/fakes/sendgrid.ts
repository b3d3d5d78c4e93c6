import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { ReceivedMail } from './received-mail.ts';
import { createScript, type Script } from './script.ts';
import { follow, startFakeServer, type FakeRequest, type Reply } from './server.ts';

export type SendgridFake = {
  url: string;
  apiKey: string;
  script: Script;
  /** What the key may do, as `GET /v3/scopes` tells. */
  scopes: string[];
  accepted(address: string): ReceivedMail[];
  /** How many connections are open. */
  open(): number;
  stop(): Promise<void>;
};

const LIMIT_BYTES = 30 * 1024 * 1024;

/** Starts SendGrid's `POST /v3/mail/send` and `GET /v3/scopes`. */
export async function startSendgridFake(): Promise<SendgridFake> {
  const apiKey = `SG.${randomUUID()}`;
  const script = createScript();
  const scopes = ['mail.send', 'sender_verification_eligible'];
  const accepted: z.infer<typeof mailSchema>[] = [];

  const handle = (request: FakeRequest): Reply => {
    const { method, path, headers, body } = request;
    if (headers.authorization !== `Bearer ${apiKey}`)
      return refuse(401, 'The provided authorization grant is invalid, expired, or revoked');
    if (method === 'GET' && path === '/v3/scopes') return { status: 200, body: { scopes } };
    if (path !== '/v3/mail/send') return refuse(404, 'Resource not found');
    if (method !== 'POST') return refuse(405, 'method not allowed');
    if (headers['content-type'] !== 'application/json') return refuse(415, 'Content-Type should be application/json.');
    if (body.length > LIMIT_BYTES) return refuse(413, 'The size of the request is too large.');
    const { success, data, error } = mailSchema.safeParse(JSON.parse(body.toString()));
    if (!success) {
      const [issue] = error.issues;
      return refuse(400, issue?.message ?? '', issue?.path.join('.'));
    }
    return follow(script, data.personalizations[0]?.to[0]?.email ?? '', request, () => {
      accepted.push(data);
      return { status: 202, headers: { 'x-message-id': randomUUID().replaceAll('-', '').slice(0, 22) } };
    });
  };

  const server = await startFakeServer(handle);
  return {
    url: `http://127.0.0.1:${server.port}`,
    apiKey,
    script,
    scopes,
    accepted: (address) =>
      accepted.filter((mail) => mail.personalizations[0]?.to[0]?.email === address).map(toReceivedMail),
    open: server.open,
    stop: server.stop,
  };
}

const refuse = (status: number, message: string, field: string | null = null): Reply => ({
  status,
  body: { errors: [{ message, field, help: null }] },
});

function toReceivedMail({ personalizations, ...mail }: z.infer<typeof mailSchema>): ReceivedMail {
  const to = personalizations[0]?.to[0];
  const contentOf = (type: string) => mail.content.find((part) => part.type === type)?.value ?? '';
  return {
    from: { name: mail.from.name ?? '', address: mail.from.email },
    to: { name: to?.name ?? '', address: to?.email ?? '' },
    subject: mail.subject,
    html: contentOf('text/html'),
    text: contentOf('text/plain'),
    messageId: mail.headers?.['Message-ID'] ?? '',
    listUnsubscribe: mail.headers?.['List-Unsubscribe'] ?? null,
    listUnsubscribePost: mail.headers?.['List-Unsubscribe-Post'] ?? null,
    notificationId: mail.custom_args?.['notification_id'] ?? null,
    isTracked: TRACKERS.some((name) => mail.tracking_settings?.[name]?.enable !== false),
  };
}

const TRACKERS = ['click_tracking', 'open_tracking', 'subscription_tracking'] as const;

/**
 * The mail object without attachments, templates and times, which Herald does not use: a field that is not here is refused.
 * @see https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
 */
const mailbox = z.strictObject({
  // Only ASCII: the API has no internationalised addresses.
  email: z.string().regex(/^[\x21-\x7e]+@[a-z0-9.-]+$/i, 'Does not contain a valid address.'),
  name: z.string().optional(),
});

const RESERVED_HEADERS = new Set(
  'x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject reply-to cc bcc'.split(
    ' ',
  ),
);

const headersSchema = z
  .record(z.string(), z.string())
  .refine((headers) => !Object.keys(headers).some((name) => RESERVED_HEADERS.has(name.toLowerCase())), {
    message: 'The headers parameter has a reserved key.',
  })
  .refine((headers) => Object.entries(headers).every(([name, value]) => /^[\x20-\x7e]*$/.test(name + value)), {
    message: 'Header names and values must be ASCII.',
  });

const customArgs = z
  .record(z.string(), z.string())
  .refine((args) => Buffer.byteLength(JSON.stringify(args)) <= 10_000, 'The custom_args are over 10000 bytes.');

const contentSchema = z
  .array(z.strictObject({ type: z.string().min(1), value: z.string().min(1) }))
  .min(1)
  .refine((parts) => !parts.slice(1).some(({ type }) => type === 'text/plain'), {
    message: 'If present, text/plain and text/html may only be provided once and text/plain must be first.',
  });

const mailSchema = z.strictObject({
  personalizations: z
    .array(z.strictObject({ to: z.array(mailbox).min(1).max(1_000), custom_args: customArgs.optional() }))
    .min(1)
    .max(1_000),
  from: mailbox,
  reply_to: mailbox.optional(),
  subject: z.string().min(1),
  content: contentSchema,
  headers: headersSchema.optional(),
  custom_args: customArgs.optional(),
  tracking_settings: z
    .strictObject({
      click_tracking: z.strictObject({ enable: z.boolean(), enable_text: z.boolean() }).optional(),
      open_tracking: z.strictObject({ enable: z.boolean(), substitution_tag: z.string().optional() }).optional(),
      subscription_tracking: z.strictObject({ enable: z.boolean() }).optional(),
    })
    .optional(),
});
