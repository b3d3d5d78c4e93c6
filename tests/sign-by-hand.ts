import { createHash, createHmac, randomUUID } from 'node:crypto';
import type { SignedContext } from '../platform/trust.ts';

/** Signs as docs/protocol.md says, with whatever stands for the time. */
export function signByHand(
  { method, path, body }: { method: string; path: string; body: string },
  context: SignedContext,
  { callee, secret, time }: { callee: string; secret: string; time: string },
): Record<string, string> {
  const nonce = randomUUID();
  const encoded = Buffer.from(JSON.stringify(context)).toString('base64url');
  const digest = createHash('sha256').update(body).digest();
  const key = createHmac('sha256', secret).update('gateway').digest();
  const lines = [callee, method, path, time, nonce, encoded].join('\n');
  return {
    'x-herald-key': createHash('sha256').update(secret).digest('hex').slice(0, 8),
    'x-herald-caller': 'gateway',
    'x-herald-time': time,
    'x-herald-nonce': nonce,
    'x-herald-context': encoded,
    'x-herald-signature': createHmac('sha256', key).update(lines).update(digest).digest('base64url'),
  };
}

/** A moment, in spellings that are no plain number of milliseconds. */
export const oddTimes = (now: number): string[] => [
  '',
  ' ',
  'NaN',
  'Infinity',
  'now',
  `0x${now.toString(16)}`,
  `${now / 1e12}e12`,
  `${now}.0`,
  `+${now}`,
  ` ${now}`,
];
