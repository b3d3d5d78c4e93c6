import { expect, test } from 'vitest';
import { mustUseTls } from '../../workers/email/must-use-tls.ts';

test.each([
  ['smtp://mail.example.com:587', true],
  ['smtp://user:password@mail.example.com', true],
  ['smtp://127.0.0.1.example.com:587', true],
  ['smtp://mail.example.com:25', false],
  ['smtp://user:password@mail.example.com:25', true],
  ['smtp://user@mail.example.com:2525', true],
  ['smtp://user:password@localhost:25', false],
  ['smtps://user:password@mail.example.com', false],
  ['smtps://mail.example.com', false],
  ['smtp://localhost:587', false],
  ['smtp://127.0.0.1:587', false],
  ['smtp://127.8.9.1', false],
  ['smtp://[::1]:587', false],
])('%s: %s', (url, expected) => {
  expect(mustUseTls(url)).toBe(expected);
});
