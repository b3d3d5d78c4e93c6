import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createVerifier, signRequest, type SignedContext } from '../../platform/trust.ts';
import { oddTimes, signByHand } from '../sign-by-hand.ts';

const SECRET = 'a secret of the callee';
const request = { method: 'POST', path: '/graphql', body: '{"query":"{ a }"}' };
const context: SignedContext = { viewer: { kind: 'client', id: 'shop', scopes: ['a', 'b'] }, requestId: 'r-1' };
const FOR_USER = { caller: 'gateway', callee: 'user' };
const sign = () => signRequest(request, context, FOR_USER, SECRET);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-23T12:00:00Z') });
});
afterEach(() => {
  vi.useRealTimers();
});

test('what one signs the other reads, whether the body is text or bytes', () => {
  const verify = createVerifier('user', SECRET);
  expect(verify(request, sign())).toEqual(context);
  expect(verify({ ...request, body: Buffer.from(request.body) }, sign())).toEqual(context);
});

describe('a changed request is refused', () => {
  const other = signRequest(request, { ...context, requestId: 'r-2' }, FOR_USER, SECRET);
  test.each<[string, object, object]>([
    ['method', { method: 'GET' }, {}],
    ['path', { path: '/graphql?x' }, {}],
    ['body', { body: '{"query":"{ b }"}' }, {}],
    ['caller', {}, { 'x-herald-caller': 'notification' }],
    ['time', {}, { 'x-herald-time': '1' }],
    ['nonce', {}, { 'x-herald-nonce': 'another' }],
    ['context', {}, { 'x-herald-context': other['x-herald-context'] }],
    ['signature', {}, { 'x-herald-signature': other['x-herald-signature'] }],
  ])('its %s', (_, parts, headers) => {
    expect(createVerifier('user', SECRET)({ ...request, ...parts }, { ...sign(), ...headers })).toContain(
      'does not fit',
    );
  });
});

test('another secret is not known', () => {
  expect(createVerifier('user', 'the secret of another callee')(request, sign())).toContain('not known here');
});

test('a service takes what is signed for it, and nothing that is for another one with the same secret', () => {
  expect(createVerifier('user', SECRET)(request, sign())).toEqual(context);
  expect(createVerifier('template', SECRET)(request, sign())).toContain('is for another service');
});

test('the protocol says all that signing takes', () => {
  const headers = signByHand(request, context, { callee: 'user', secret: SECRET, time: String(Date.now()) });
  expect(createVerifier('user', SECRET)(request, headers)).toEqual(context);
});

test('a time that is no plain number is refused, not compared', () => {
  for (const time of oddTimes(Date.now())) {
    const headers = signByHand(request, context, { callee: 'user', secret: SECRET, time });
    expect(createVerifier('user', SECRET)(request, headers), time).toBe('its time is no number of milliseconds');
  }
});

test.each([undefined, '', ['twice', 'twice']])('the signature %j is none', (signature) => {
  expect(createVerifier('user', SECRET)(request, { ...sign(), 'x-herald-signature': signature })).toBe(
    'the request is not signed',
  );
});

test.each([
  [30_000, true],
  [30_001, false],
  [-30_000, true],
  [-30_001, false],
])('%i ms after the signing it is trusted: %s', (passed, trusted) => {
  const headers = sign();
  vi.setSystemTime(Date.now() + passed);
  const answer = createVerifier('user', SECRET)(request, headers);
  expect(typeof answer === 'object').toBe(trusted);
  if (!trusted) expect(answer).toContain('older than 30 s');
});

describe('a request is trusted once', () => {
  test.each([0, 29_000])('%i ms later it was sent before', (later) => {
    const verify = createVerifier('user', SECRET);
    const headers = sign();
    expect(verify(request, headers)).toEqual(context);
    vi.setSystemTime(Date.now() + later);
    expect(verify(request, headers)).toBe('the request was sent before');
  });

  test('at any moment at which its signature still holds, however long the process has run', () => {
    const verify = createVerifier('user', SECRET);
    for (let second = 0; second < 300; second += 7) {
      vi.setSystemTime(new Date('2026-11-23T12:00:00Z').getTime() + second * 1_000);
      const headers = sign();
      expect(verify(request, headers)).toEqual(context);
      vi.setSystemTime(Date.now() + 30_000);
      expect(verify(request, headers)).toBe('the request was sent before');
    }
  });

  test('a forged request does not use up the nonce of a real one', () => {
    const verify = createVerifier('user', SECRET);
    const headers = sign();
    expect(verify({ ...request, body: 'forged' }, headers)).toContain('does not fit');
    expect(verify(request, headers)).toEqual(context);
  });
});
