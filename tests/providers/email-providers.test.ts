import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EmailMessage } from '../../contracts/message.ts';
import type { Provider, SendOutcome } from '../../workers/provider.ts';
import { watchLeaks } from '../leaks.ts';
import { until } from '../until.ts';
import { toEmailMessage } from './email-message.ts';
import { gmail, mailgun, sendgrid, smtp, type Running, type Subject } from './email-subjects.ts';

const UNSUBSCRIBE_URL = `https://herald.example/unsubscribe/${'token'.repeat(40)}`;
/** What a send may take beyond the provider's time before it is late. */
const MARGIN_MS = 1_500;

testEmailProvider(smtp);
testEmailProvider(gmail);
testEmailProvider(sendgrid);
testEmailProvider(mailgun);

function testEmailProvider<S>({ name, start, cases }: Subject<S>) {
  describe(name, () => {
    let checkLeaks: () => Promise<void>;
    let running: Running<S>;
    let provider: Provider<EmailMessage>;

    beforeAll(async () => {
      checkLeaks = watchLeaks();
      running = await start();
      provider = running.createProvider();
    });
    afterAll(async () => {
      await provider.stop();
      await running.stop();
      await checkLeaks();
    });

    test('a mail arrives whole, once, and known by the notification', async () => {
      const message = toEmailMessage({ unsubscribeUrl: UNSUBSCRIBE_URL });
      const notificationId = randomUUID();
      const outcome = await send(provider, message, { notificationId });

      expect(outcome).toMatchObject({ class: 'accepted', providerMessageId: expect.stringMatching(/./) });
      expect(running.requests(message.to.address)).toBe(1);
      const [mail, ...others] = await running.accepted(message.to.address);
      expect(others).toEqual([]);
      expect(mail).toEqual({
        from: { name: 'Ümlaut & „Söhne“, Inc.', address: 'no-reply@xn--exmple-cua.com' },
        to: message.to,
        subject: message.subject,
        html: message.html,
        text: message.text,
        messageId: `<${notificationId}@xn--exmple-cua.com>`,
        listUnsubscribe: `<${UNSUBSCRIBE_URL}>`,
        listUnsubscribePost: 'List-Unsubscribe=One-Click',
        // Mail by SMTP has only its Message-ID.
        notificationId: name === 'smtp' || name === 'gmail' ? null : notificationId,
        isTracked: false,
      });
    });

    test('a mail that nobody can leave says nothing of leaving', async () => {
      const message = toEmailMessage();
      await send(provider, message);
      const [mail] = await running.accepted(message.to.address);
      expect(mail).toMatchObject({ listUnsubscribe: null, listUnsubscribePost: null });
    });

    test('an address of an internationalised domain goes out as DNS knows it', async () => {
      const local = randomUUID();
      const outcome = await send(
        provider,
        toEmailMessage({ to: { name: '李雷', address: `${local}@bücher.example` } }),
      );
      expect(outcome.class).toBe('accepted');
      const [mail] = await running.accepted(`${local}@xn--bcher-kva.example`);
      expect(mail?.to).toEqual({ name: '李雷', address: `${local}@xn--bcher-kva.example` });
    });

    test.each(Object.entries(cases))('%s', async (_title, { step, outcome, isAccepted = false }) => {
      const message = toEmailMessage();
      running.script(message.to.address, step);
      expect(await send(provider, message)).toMatchObject({ reason: expect.stringMatching(/./), ...outcome });
      expect(running.requests(message.to.address)).toBe(1);
      expect(await running.accepted(message.to.address)).toHaveLength(isAccepted ? 1 : 0);
    });

    test('a send after one that failed goes well', async () => {
      const message = toEmailMessage();
      running.script(message.to.address, cases['a failure that passes'].step, 'accept');
      expect((await send(provider, message)).class).toBe('transient');
      expect((await send(provider, message)).class).toBe('accepted');
    });

    test('a server that never answers is unknown, in time', async () => {
      const message = toEmailMessage();
      running.script(message.to.address, running.hang);
      const hasty = running.createProvider({ timeoutMs: 600 });
      const started = performance.now();
      const outcome = await send(hasty, message);
      expect(performance.now() - started).toBeLessThan(600 + MARGIN_MS);
      expect(outcome).toEqual({ class: 'unknown', reason: 'the server did not answer in time' });
      expect(running.requests(message.to.address)).toBe(1);
      await hasty.stop();
    });

    test('a send that is given up is unknown, at once', async () => {
      const message = toEmailMessage();
      running.script(message.to.address, running.hang);
      const abort = new AbortController();
      const sending = send(provider, message, { signal: abort.signal });
      await until(() => running.received(message.to.address) === 1);
      const started = performance.now();
      abort.abort();
      expect(await sending).toEqual({ class: 'unknown', reason: 'the server did not answer in time' });
      expect(performance.now() - started).toBeLessThan(MARGIN_MS);
    });

    test('a send whose time is up before it began is not made', async () => {
      const message = toEmailMessage();
      const outcome = await send(provider, message, { signal: AbortSignal.abort() });
      expect(outcome.class).toBe('transient');
      expect(running.requests(message.to.address)).toBe(0);
    });

    test.each([
      ['subject', { subject: 'Hello\r\nBcc: everyone@example.com' }],
      ['name of the recipient', { to: { name: 'Ada\nX-Evil: 1', address: 'ada@example.com' } }],
      ['address of the recipient', { to: { name: 'Ada', address: 'ada@example.com\r\nRCPT TO:<eve@example.com>' } }],
      ['unsubscribeUrl', { unsubscribeUrl: 'https://herald.example/\r\nX-Evil: 1' }],
    ])('a line break in the %s is refused, not folded', async (name, bad) => {
      const message = toEmailMessage(bad);
      const outcome = await send(provider, message);
      expect(outcome).toMatchObject({ class: 'permanent', reason: expect.stringContaining(name) });
      expect(running.requests(message.to.address)).toBe(0);
    });

    test('a reason holds none of our secrets, though the server repeats them', async () => {
      // Whatever a login takes is known then.
      await provider.check(AbortSignal.timeout(5_000));
      const message = toEmailMessage();
      running.script(message.to.address, running.echo);
      const { reason = '' } = await send(provider, message);
      expect(reason).toContain('[secret]');
      for (const secret of running.secrets) expect(reason).not.toContain(secret);
    });

    test('wrong credentials are a fault of the configuration', async () => {
      const refused = running.createProvider({ credentials: 'wrong' });
      const message = toEmailMessage();
      expect(await send(refused, message)).toMatchObject({
        class: 'configuration',
        reason: expect.stringMatching(/./),
      });
      expect(await running.accepted(message.to.address)).toEqual([]);
      await expect(refused.check(AbortSignal.timeout(5_000))).rejects.toThrow(MEND[name]);
      await refused.stop();
    });

    test('the check is content with the right credentials', async () => {
      await expect(provider.check(AbortSignal.timeout(5_000))).resolves.toBeUndefined();
    });

    test('many sends at once are one hand-over each', async () => {
      const messages = Array.from({ length: 20 }, () => toEmailMessage());
      const outcomes = await Promise.all(messages.map((message) => send(provider, message)));
      expect(new Set(outcomes.map((outcome) => outcome.class))).toEqual(new Set(['accepted']));
      for (const { to } of messages) expect(running.requests(to.address)).toBe(1);
    });
  });

  test(`${name}: nothing stays open behind a provider that was stopped`, async () => {
    const checkLeaks = watchLeaks();
    const running = await start();
    const provider = running.createProvider({ timeoutMs: 300 });
    const [good, bad] = [toEmailMessage(), toEmailMessage()];
    running.script(bad.to.address, running.hang);
    await Promise.all([send(provider, bad), provider.check(AbortSignal.timeout(5_000))]);
    await send(provider, good);
    expect(running.open()).toBeGreaterThan(0);
    await provider.stop();
    // Sooner than any connection would end for want of use.
    await until(() => running.open() === 0, { timeoutMs: MARGIN_MS });
    await running.stop();
    await checkLeaks();
  });

  test(`${name}: a server that is not there is transient`, async () => {
    const running = await start();
    const provider = running.createProvider();
    await running.stop();
    const outcome = await send(provider, toEmailMessage());
    expect(outcome).toMatchObject({ class: 'transient', reason: expect.stringMatching(/ECONNREFUSED/) });
    await expect(provider.check(AbortSignal.timeout(5_000))).rejects.toThrow(/would not take mail: .*ECONNREFUSED/);
    await provider.stop();
  });
}

const MEND: Record<string, RegExp> = {
  smtp: /SMTP would not take mail: .*SMTP_URL/,
  gmail: /Gmail would not take mail: .*GMAIL_REFRESH_TOKEN/,
  sendgrid: /SendGrid would not take mail: 401 .*SENDGRID_API_KEY/,
  mailgun: /Mailgun would not take mail: 401 .*MAILGUN_API_KEY/,
};

const send = (
  provider: Provider<EmailMessage>,
  message: EmailMessage,
  { notificationId = randomUUID(), signal = new AbortController().signal } = {},
): Promise<SendOutcome> => provider.send(message, { notificationId, signal });
