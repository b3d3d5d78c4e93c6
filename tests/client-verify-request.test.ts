import { afterEach, expect, test, vi } from 'vitest';
import { createVerifier } from '../client/verify-request.ts';
import { signRequest } from '../platform/trust.ts';
import { oddTimes, signByHand } from './sign-by-hand.ts';

const NAME = 'customers';
const SECRET = 'secret-of-a-subgraph';
const context = { viewer: { kind: 'user' as const, id: 'u1', scopes: ['users:read'] }, requestId: 'r1' };
const request = { method: 'POST', path: '/graphql', body: '{"query":"{ customer }"}' };
const sign = () => ({
  ...request,
  headers: signRequest(request, context, { caller: 'gateway', callee: NAME }, SECRET),
});
afterEach(() => vi.useRealTimers());

test('what the gateway signs is trusted, and says who asks', () => {
  expect(createVerifier({ name: NAME, secret: SECRET })(sign())).toEqual(context);
});

test.each([
  ['the body', { body: '{"query":"{ others }"}' }],
  ['the path', { path: '/other' }],
  ['the method', { method: 'GET' }],
  ['the signature', { headers: {} }],
])('with another %s it is not', (_, change) => {
  expect(createVerifier({ name: NAME, secret: SECRET })({ ...sign(), ...change })).toMatch(/not signed/);
});

test.each(['caller', 'time', 'nonce', 'context'])('with another x-herald-%s it is not', (name) => {
  const { headers, ...signed } = sign();
  expect(
    createVerifier({ name: NAME, secret: SECRET })({ ...signed, headers: { ...headers, [`x-herald-${name}`]: '1' } }),
  ).toMatch(/not signed/);
});

test('nor with a time that is no plain number', () => {
  for (const time of oddTimes(Date.now())) {
    const headers = signByHand(request, context, { callee: NAME, secret: SECRET, time });
    expect(createVerifier({ name: NAME, secret: SECRET })({ ...request, headers }), time).toMatch(/no number/);
  }
});

test('nor for another subgraph, with another secret, a second time, or late', () => {
  expect(createVerifier({ name: 'orders', secret: SECRET })(sign())).toMatch(/not signed/);
  expect(createVerifier({ name: NAME, secret: 'another-secret-of-one' })(sign())).toMatch(/not signed/);
  const verify = createVerifier({ name: NAME, secret: SECRET });
  const signed = sign();
  expect(verify(signed)).toEqual(context);
  expect(verify(signed)).toBe('the request was sent before');
  vi.useFakeTimers({ now: Date.now() });
  const late = sign();
  vi.advanceTimersByTime(31_000);
  expect(verify(late)).toMatch(/older than 30 s/);
});
