import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDsn } from '../../gateway/webhooks/dsn.ts';
import { eximDsn, gmailDsn, postfixDsn } from '../dsn-samples.ts';

const RETURNED = { to: 'ada@example.com', messageId: 'a@herald.example' };
const REPORT =
  'Reporting-MTA: dns; mx\n\nFinal-Recipient: RFC822; <ada@example.com>\nAction: Failed\nStatus: 5.1.1 (no user)\n';

const mail = (part: string) =>
  `Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n${part}\n--b--\n`;

describe('a delivery status notification is read', () => {
  test.each([
    ['as it is', REPORT, '7bit'],
    ['as base64', Buffer.from(REPORT.replaceAll('\n', '\r\n')).toString('base64'), 'Base64'],
    [
      'as quoted-printable',
      REPORT.replaceAll('=', '=3D').replace('Final', 'Fin=\nal=2D').replace('=2D-', '=2D'),
      'quoted-printable',
    ],
  ])('%s', (_, report, encoding) => {
    const part = `Content-Type: message/delivery-status\nContent-Transfer-Encoding: ${encoding}\n\n${report}`;
    expect(parseDsn(mail(part))).toMatchObject({
      kind: 'dsn',
      messageId: undefined,
      recipients: [{ action: 'failed', status: '5.1.1', address: 'ada@example.com', diagnostic: undefined }],
    });
  });

  test('of several recipients, with UTF-8 addresses', () => {
    const report = `${REPORT}\n\nFinal-Recipient: utf-8; jürgen@example.com\nAction: delayed\nStatus: 4.2.2\n`;
    const dsn = parseDsn(mail(`Content-Type: message/global-delivery-status\n\n${report}`));
    expect(dsn).toMatchObject({
      recipients: [{ status: '5.1.1' }, { address: 'jürgen@example.com', action: 'delayed' }],
    });
  });

  test('behind the line of a pipe, and when its end is cut off', () => {
    const piped = `From MAILER-DAEMON Mon Nov 23 21:07:03 2026\n${postfixDsn(RETURNED)}`;
    const whole = parseDsn(piped);
    expect(whole).toMatchObject({ kind: 'dsn', messageId: '<a@herald.example>', recipients: [{ status: '5.1.1' }] });
    expect(parseDsn(piped.slice(0, piped.indexOf('--9C1E01A0AF.1795468023/mx.herald.example--')))).toEqual(whole);
  });

  test('however it is broken, without an exception', () => {
    const samples = [postfixDsn(RETURNED), eximDsn(RETURNED), gmailDsn(RETURNED)];
    const broken = fc
      .tuple(fc.constantFrom(...samples), fc.nat(3_000), fc.nat(200), fc.string({ maxLength: 20 }))
      .map(([sample, from, length, text]) => sample.slice(0, from) + text + sample.slice(from + length));
    fc.assert(
      fc.property(fc.oneof(broken, fc.string()), (text) => {
        expect(['dsn', 'other mail', 'no mail']).toContain(parseDsn(text).kind);
      }),
      { numRuns: 500 },
    );
  });

  test('fast, also when it is made to be slow', () => {
    const started = performance.now();
    for (const text of ['\n'.repeat(1e6), ' \n\t'.repeat(3e5), 'a: b;'.repeat(2e5), mail('--b\n'.repeat(2.5e5))]) {
      parseDsn(text);
      parseDsn(`Content-Type: multipart/mixed; boundary=b\n\n${text}`);
      parseDsn(mail(`Content-Type: message/delivery-status\n\n${text}`));
    }
    expect(performance.now() - started).toBeLessThan(3_000);
  });
});
