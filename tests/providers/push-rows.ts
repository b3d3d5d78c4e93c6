import { randomUUID } from 'node:crypto';
import type { PushToken } from '../../contracts/message.ts';
import type { SendOutcome } from '../../workers/provider.ts';
import { refuse } from '../fakes/fcm.ts';
import type { Answer } from '../fakes/script.ts';

/** What a provider's service answers, and what its provider must make of it (reference: the providers' error tables). */
export type Row = [what: string, answer: Answer | ((token: PushToken) => Answer), outcome: Partial<SendOutcome>];

export const FCM_ROWS: Row[] = [
  [
    'no token any more',
    refuse(404, 'NOT_FOUND', 'Requested entity was not found.', 'UNREGISTERED'),
    { class: 'address_dead' },
  ],
  [
    'a malformed token',
    refuse(400, 'INVALID_ARGUMENT', 'The registration token is not a valid FCM registration token', 'INVALID_ARGUMENT'),
    { class: 'address_dead' },
  ],
  [
    'a malformed token, by the name of the field',
    {
      status: 400,
      body: {
        error: {
          status: 'INVALID_ARGUMENT',
          message: 'Request contains an invalid argument.',
          details: [{ fieldViolations: [{ field: 'message.token' }] }],
        },
      },
    },
    { class: 'address_dead' },
  ],
  // Before any device took a message, it may be ours that is wrong.
  ['another sender', refuse(403, 'PERMISSION_DENIED', 'Mismatch', 'SENDER_ID_MISMATCH'), { class: 'configuration' }],
  ['a bad message', refuse(400, 'INVALID_ARGUMENT', 'Invalid TTL', 'INVALID_ARGUMENT'), { class: 'permanent' }],
  ['no right to send', refuse(403, 'PERMISSION_DENIED', 'Permission denied'), { class: 'configuration' }],
  ['an unknown caller', refuse(401, 'UNAUTHENTICATED', 'Invalid credentials'), { class: 'configuration' }],
  [
    'no certificate for Apple',
    refuse(401, 'UNAUTHENTICATED', 'Auth error from APNS', 'THIRD_PARTY_AUTH_ERROR'),
    { class: 'configuration' },
  ],
  ['no such project', refuse(404, 'NOT_FOUND', 'Requested entity was not found.'), { class: 'configuration' }],
  [
    'too much, with a wait',
    { ...refuse(429, 'RESOURCE_EXHAUSTED', 'Quota exceeded', 'QUOTA_EXCEEDED'), headers: { 'retry-after': '120' } },
    { class: 'transient', retryAfterSeconds: 120 },
  ],
  [
    'too much, without',
    refuse(429, 'RESOURCE_EXHAUSTED', 'Quota exceeded', 'QUOTA_EXCEEDED'),
    { class: 'transient', retryAfterSeconds: 60 },
  ],
  [
    'overloaded, with a wait that the client would sit out',
    { ...refuse(503, 'UNAVAILABLE', 'Unavailable', 'UNAVAILABLE'), headers: { 'retry-after': '30' } },
    { class: 'transient', retryAfterSeconds: 30 },
  ],
  [
    'overloaded, with a wait that is too short',
    { ...refuse(503, 'UNAVAILABLE', 'Unavailable', 'UNAVAILABLE'), headers: { 'retry-after': '1' } },
    { class: 'transient', retryAfterSeconds: 10 },
  ],
  ['overloaded, by a proxy', { status: 503, body: '<h1>503</h1>' }, { class: 'transient', retryAfterSeconds: 10 }],
  ['a fault', refuse(500, 'INTERNAL', 'Internal', 'INTERNAL'), { class: 'transient', retryAfterSeconds: 10 }],
  [
    'a redirect',
    { status: 302, headers: { location: 'https://127.0.0.1:1/' }, body: 'Moved' },
    unforeseen('302 Moved'),
  ],
  ['a bad gateway', { status: 502, body: '<h1>Bad Gateway</h1>' }, unforeseen('502 <h1>Bad Gateway</h1>')],
  ['a page', { status: 200, body: '<h1>Log in</h1>' }, unforeseen('200 <h1>Log in</h1>')],
  ['another shape', { status: 200, body: { ok: true } }, unforeseen('200 {"ok":true}')],
];

export const WEB_PUSH_ROWS: Row[] = [
  ['gone', { status: 410 }, { class: 'address_dead' }],
  ['not found', { status: 404, body: { errno: 102 } }, { class: 'address_dead' }],
  ['a bad request', { status: 400, body: { errno: 110 } }, { class: 'permanent' }],
  ['too large', { status: 413 }, { class: 'permanent' }],
  ['a signature that is not good', { status: 401, body: { errno: 109 } }, { class: 'configuration' }],
  ['another key than the subscription has', { status: 403, body: 'do not correspond' }, { class: 'configuration' }],
  [
    'too much, with a wait',
    { status: 429, headers: { 'retry-after': '120' } },
    { class: 'transient', retryAfterSeconds: 120 },
  ],
  ['too much, without', { status: 429 }, { class: 'transient', retryAfterSeconds: 30 }],
  ['a fault', { status: 500 }, { class: 'transient', retryAfterSeconds: 30 }],
  ['a bad gateway', { status: 502, body: '<h1>502</h1>' }, { class: 'transient', retryAfterSeconds: 30 }],
  ['overloaded', { status: 503, headers: { 'retry-after': '5' } }, { class: 'transient', retryAfterSeconds: 5 }],
  [
    'a redirect',
    { status: 307, headers: { location: 'https://127.0.0.1:1/' }, body: 'Moved' },
    unforeseen('307 Moved'),
  ],
  ['a page', { status: 200, body: '<h1>Log in</h1>' }, unforeseen('200 <h1>Log in</h1>')],
];

export const ONESIGNAL_ROWS: Row[] = [
  [
    'nobody to send to',
    { status: 200, body: { id: '', errors: ['All included players are not subscribed'] } },
    { class: 'address_dead' },
  ],
  [
    'an id that is not valid',
    ({ token }) => ({ status: 200, body: { id: randomUUID(), errors: { invalid_player_ids: [token] } } }),
    { class: 'address_dead' },
  ],
  ['a bad notification', { status: 400, body: { errors: ['contents is required'] } }, { class: 'permanent' }],
  ['another app', { status: 400, body: { errors: ['app_id not found'] } }, { class: 'configuration' }],
  ['a wrong key', { status: 401, body: { errors: ['Access denied'] } }, { class: 'configuration' }],
  ['no right', { status: 403, body: { errors: ['Access denied'] } }, { class: 'configuration' }],
  [
    'too much, with a wait',
    { status: 429, headers: { 'retry-after': '7' }, body: { errors: ['API rate limit exceeded'] } },
    { class: 'transient', retryAfterSeconds: 7 },
  ],
  ['a fault', { status: 500, body: { errors: ['Internal'] } }, { class: 'transient' }],
  ['a bad gateway', { status: 502, body: '<h1>502</h1>' }, { class: 'transient' }],
  ['overloaded', { status: 503, body: { errors: ['Service temporarily unavailable'] } }, { class: 'transient' }],
  ['a redirect', { status: 301, headers: { location: 'http://127.0.0.1:1/' }, body: 'Moved' }, unforeseen('301 Moved')],
  ['a page', { status: 200, body: '<h1>Log in</h1>' }, unforeseen('200 <h1>Log in</h1>')],
  ['another shape', { status: 200, body: { ok: true } }, unforeseen('200 {"ok":true}')],
];

/** The answer, whole. */
function unforeseen(reason: string): Partial<SendOutcome> {
  return { class: 'unknown', reason };
}
