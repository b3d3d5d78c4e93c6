import { expect, test } from 'vitest';
import { classifySmtpError } from '../../workers/email/classify-smtp-error.ts';

const reply = (response: string, code = 'EENVELOPE') =>
  Object.assign(new Error(`the server said: ${response}`), {
    code,
    responseCode: Number(response.slice(0, 3)),
    response,
  });

test.each([
  ['421 4.7.0 try again later', 'transient'],
  ['450 4.2.1 mailbox busy', 'transient'],
  ['451 greylisted', 'transient'],
  ['452 4.2.2 mailbox full', 'transient'],
  ['454 4.7.0 temporary authentication failure', 'transient'],
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
  ['550 5.7.26 unauthenticated sender', 'configuration'],
  ['550 5.7.515 access denied', 'configuration'],
])('the reply %s is %s', (response, expected) => {
  expect(classifySmtpError(reply(response))).toEqual({ class: expected, reason: response });
});

const failure = (message: string, fields: object) => Object.assign(new Error(message), fields);

test.each<[string, object, string]>([
  ['connect ECONNREFUSED 127.0.0.1:25', { code: 'ESOCKET', syscall: 'connect' }, 'transient'],
  ['getaddrinfo ENOTFOUND mail.example', { code: 'EDNS', syscall: 'getaddrinfo' }, 'transient'],
  ['queryA EAI_AGAIN mail.example', { code: 'ECONNECTION' }, 'transient'],
  ['connect ETIMEDOUT', { code: 'ESOCKET', syscall: 'connect' }, 'transient'],
  ['Greeting never received', { code: 'ETIMEDOUT' }, 'transient'],
  ['certificate has expired', { code: 'ETLS' }, 'transient'],
  ['Missing credentials', { code: 'EAUTH' }, 'configuration'],
  ['No recipients defined', { code: 'EENVELOPE' }, 'permanent'],
  ['Invalid message', { code: 'EMESSAGE' }, 'permanent'],
  // The same before and after the message went over: nobody knows.
  ['Connection closed unexpectedly', { code: 'ECONNECTION' }, 'unknown'],
  ['read ECONNRESET', { code: 'ESOCKET', syscall: 'read' }, 'unknown'],
  ['Timeout', { code: 'ETIMEDOUT' }, 'unknown'],
  ['something new', {}, 'unknown'],
])('%s %o is %s', (message, fields, expected) => {
  expect(classifySmtpError(failure(message, fields))).toEqual({ class: expected, reason: message });
});

test('what is no error is unknown too', () => {
  expect(classifySmtpError('odd')).toEqual({ class: 'unknown', reason: 'odd' });
});
