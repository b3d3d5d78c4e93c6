import { createHmac, generateKeyPairSync, randomBytes, randomUUID, sign, type KeyObject } from 'node:crypto';
import type { RestAnswer } from './doors.ts';
import type { Herald } from './start.ts';

/** The providers as they call Herald's webhooks: their published signatures, their payloads' shapes. */

const sendgridPair = newSendgridPair();
export const webhookKeys = {
  sendgrid: sendgridPair.publicKey,
  mailgun: `key-${randomBytes(16).toString('hex')}`,
  onesignal: randomBytes(24).toString('base64url'),
  bounces: randomBytes(24).toString('base64url'),
};

export function newSendgridPair(): { publicKey: string; privateKey: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return { publicKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'), privateKey };
}

export const secondsAgo = (seconds: number) => String(Math.floor(Date.now() / 1_000) - seconds);

/** @param how what is wrong with the request: another key, an old time, a body that was changed after it was signed */
export function postSendgrid(
  herald: Herald,
  events: unknown,
  how: { privateKey?: KeyObject; timestamp?: string; alteredBody?: string; headers?: Record<string, undefined> } = {},
): Promise<RestAnswer> {
  const { privateKey = sendgridPair.privateKey, timestamp = secondsAgo(0) } = how;
  const body = typeof events === 'string' ? events : `${JSON.stringify(events)}\r\n`;
  return herald.rest('POST', '/webhooks/sendgrid', how.alteredBody ?? body, {
    authorization: undefined,
    'content-type': 'application/json',
    'user-agent': 'SendGrid Event API',
    'x-twilio-email-event-webhook-signature': sign('sha256', Buffer.from(timestamp + body), privateKey).toString(
      'base64',
    ),
    'x-twilio-email-event-webhook-timestamp': timestamp,
    ...how.headers,
  });
}

/** An event as SendGrid tells it; a custom argument stands beside its own fields. */
export const sendgridEvent = (event: string, fields: object = {}) => ({
  email: 'recipient@example.com',
  event,
  ip: '167.89.17.173',
  'smtp-id': '<wrfRRvF7Q0GgwUo2CvDmEA@ismtpd0006p1sjc2.sendgrid.net>',
  sg_event_id: randomBytes(16).toString('base64url'),
  sg_message_id: `${randomBytes(16).toString('base64url')}.filter0425p1mdw1.13037.57168B4A1D.0`,
  timestamp: Math.floor(Date.now() / 1_000),
  tls: 1,
  ...fields,
});

export const sendgridBounce = (fields: object = {}) =>
  sendgridEvent('bounce', {
    type: 'bounce',
    status: '5.1.1',
    reason: '550 5.1.1 The email account that you tried to reach does not exist.',
    ...fields,
  });

export function postMailgun(
  herald: Herald,
  event: object,
  how: { key?: string; timestamp?: string; token?: string; signature?: object } = {},
): Promise<RestAnswer> {
  const { key = webhookKeys.mailgun, timestamp = secondsAgo(0), token = randomBytes(25).toString('hex') } = how;
  const signature = createHmac('sha256', key)
    .update(timestamp + token)
    .digest('hex');
  const body = JSON.stringify({ signature: how.signature ?? { timestamp, token, signature }, 'event-data': event });
  return herald.rest('POST', '/webhooks/mailgun', body, { authorization: undefined });
}

export const mailgunEvent = (event: string, recipient: string, notificationId: string | null, fields: object = {}) => ({
  event,
  id: randomBytes(16).toString('base64url'),
  timestamp: Date.now() / 1_000,
  recipient,
  'recipient-domain': recipient.split('@')[1],
  'log-level': 'info',
  tags: [],
  campaigns: [],
  flags: { 'is-routed': false, 'is-authenticated': true, 'is-system-test': false, 'is-test-mode': false },
  envelope: { sender: 'no-reply@herald.example', transport: 'smtp', targets: recipient, 'sending-ip': '198.51.100.7' },
  message: {
    headers: { to: recipient, from: 'no-reply@herald.example', 'message-id': `${randomUUID()}@herald.example` },
    attachments: [],
    size: 809,
  },
  'user-variables': notificationId === null ? {} : { notification_id: notificationId },
  ...fields,
});

/** Fields as the template of an Event Stream gives them: each one's name, and its value in quotes. */
export const postOnesignal = (
  herald: Herald,
  fields: Record<string, unknown>,
  secret: string | undefined = webhookKeys.onesignal,
): Promise<RestAnswer> =>
  herald.rest(
    'POST',
    '/webhooks/onesignal',
    {
      'event.id': randomUUID(),
      'event.timestamp': secondsAgo(0),
      'event.datetime': new Date().toISOString(),
      'event.app_id': randomUUID(),
      'event.subscription_device_type': 'Android',
      'event.subscription_id': randomUUID(),
      'event.external_id': '',
      'event.data.failure_reason': '',
      'message.id': randomUUID(),
      'message.name': '',
      ...fields,
    },
    { authorization: `Bearer ${secret}` },
  );

/** A mail as an MTA pipes it. */
export const postBounce = (
  herald: Herald,
  mail: string,
  headers: Record<string, string | undefined> = {},
): Promise<RestAnswer> =>
  herald.rest('POST', '/webhooks/bounces', mail, {
    authorization: `Bearer ${webhookKeys.bounces}`,
    'content-type': 'message/rfc822',
    ...headers,
  });
