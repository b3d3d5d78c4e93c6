import { expect, test } from 'vitest';
import { classifySmtpError } from '../../workers/email/classify-smtp-error.ts';

const BEFORE = { isHandedOver: false };
const AFTER = { isHandedOver: true };

const reply = (response: string, fields: object = { code: 'EENVELOPE', command: 'RCPT TO' }) =>
  Object.assign(new Error(`the server said: ${response}`), {
    responseCode: Number(response.slice(0, 3)),
    response,
    ...fields,
  });

test.each([
  ['421 4.7.0 try again later', 'transient'],
  ['450 4.2.1 mailbox busy', 'transient'],
  ['451 greylisted', 'transient'],
  ['452 4.2.2 mailbox full', 'transient'],
  ['454 4.7.0 temporary authentication failure', 'transient'],
  ['550 5.4.5 daily user sending limit exceeded', 'transient'],
  ['550 5.1.1 no such user', 'address_dead'],
  ['550-5.1.1 The email account that you tried to reach does not exist.', 'address_dead'],
  ['553 5.1.2 no such domain', 'address_dead'],
  ['501 5.1.3 bad address', 'address_dead'],
  ['551 5.1.6 moved', 'address_dead'],
  ['550 5.1.10 recipient not found', 'address_dead'],
  ['550 5.2.1 mailbox disabled', 'permanent'],
  ['552 5.2.2 over quota', 'permanent'],
  ['552 5.3.4 message too big', 'permanent'],
  ['550 5.7.1 spam', 'permanent'],
  ['554 no', 'permanent'],
  ['530 5.7.0 authentication required', 'configuration'],
  ['535 5.7.8 bad credentials', 'configuration'],
  ['553 5.1.8 bad sender', 'configuration'],
  ['550 5.7.26 unauthenticated sender', 'configuration'],
  ['550 5.7.515 access denied', 'configuration'],
])('the reply %s is %s', (response, expected) => {
  expect(classifySmtpError(reply(response), BEFORE)).toEqual({ class: expected, reason: response });
});

test.each([
  ['554 5.7.1 you are on a list', { code: 'EPROTOCOL', command: 'CONN' }, 'configuration'],
  ['421 4.3.2 busy', { code: 'EPROTOCOL', command: 'CONN' }, 'transient'],
  ['502 5.5.1 no such command', { code: 'ETLS', command: 'STARTTLS' }, 'configuration'],
  ['534 5.7.9 another kind of password', { code: 'EAUTH', command: 'AUTH PLAIN' }, 'configuration'],
  ['454 4.7.0 too many logins', { code: 'EAUTH', command: 'AUTH XOAUTH2' }, 'transient'],
  ['550 5.1.1 no such sender', { code: 'EENVELOPE', command: 'MAIL FROM' }, 'configuration'],
  ['552 5.3.4 too big', { code: 'EENVELOPE', command: 'MAIL FROM' }, 'permanent'],
])('the reply %s to %o is %s', (response, fields, expected) => {
  expect(classifySmtpError(reply(response, fields), BEFORE).class).toBe(expected);
});

test('a refusal that came as the connection ended is one of the message', () => {
  const fields = { code: 'ECONNECTION', command: 'CONN' };
  expect(classifySmtpError(reply('550 5.7.1 spam', fields), AFTER).class).toBe('permanent');
});

test('a reply that is neither yes nor no is unknown', () => {
  expect(classifySmtpError(reply('399 what', { code: 'EMESSAGE', command: 'DATA' }), AFTER).class).toBe('unknown');
});

const failure = (message: string, fields: object) => Object.assign(new Error(message), fields);

test.each<[string, object, string]>([
  ['Missing credentials', { code: 'EAUTH' }, 'configuration'],
  ['no access token: invalid_grant', { code: 'EAUTH', command: 'AUTH XOAUTH2' }, 'configuration'],
  ['no access token for now', { code: 'EAUTH', originalCode: 'TOKEN_UNREACHABLE' }, 'transient'],
  ['No recipients defined', { code: 'EENVELOPE' }, 'permanent'],
  ['Message size larger than allowed 1', { code: 'EMESSAGE' }, 'permanent'],
])('%s %o is %s', (message, fields, expected) => {
  expect(classifySmtpError(failure(message, fields), BEFORE)).toEqual({ class: expected, reason: message });
});

test.each<[string, object]>([
  ['connect ECONNREFUSED 127.0.0.1:25', { code: 'ESOCKET', syscall: 'connect' }],
  ['getaddrinfo ENOTFOUND mail.example', { code: 'EDNS', syscall: 'getaddrinfo' }],
  ['Greeting never received', { code: 'ETIMEDOUT' }],
  ['certificate has expired', { code: 'ETLS' }],
  ['Connection closed unexpectedly', { code: 'ECONNECTION' }],
  ['read ECONNRESET', { code: 'ESOCKET', syscall: 'read' }],
  ['something new', {}],
])('%s is transient before the message went over, and unknown after', (message, fields) => {
  expect(classifySmtpError(failure(message, fields), BEFORE)).toEqual({ class: 'transient', reason: message });
  expect(classifySmtpError(failure(message, fields), AFTER)).toEqual({ class: 'unknown', reason: message });
});

test('what is no error is unknown too', () => {
  expect(classifySmtpError('odd', AFTER)).toEqual({ class: 'unknown', reason: 'odd' });
});
