import { describe, expect, test } from 'vitest';
import { faultOfPayload, toFcmPayload, toWebPushPayload } from '../../contracts/push-payload.ts';

describe('payload limits', () => {
  const content = {
    type: 'push' as const,
    title: '',
    body: '',
    image: null,
    link: null,
    data: null,
    ttlSeconds: null,
    collapseKey: null,
  };
  const sizeOfEmpty = {
    fcm: Buffer.byteLength(JSON.stringify(toFcmPayload(content))),
    webpush: Buffer.byteLength(toWebPushPayload(content)),
  };

  test.each([
    ['fcm', 4_096],
    ['webpush', 3_993],
  ] as const)('%s: up to the last of its %d bytes, counted as UTF-8', (kind, limit) => {
    const room = limit - sizeOfEmpty[kind];
    const full = 'é'.repeat(Math.floor(room / 2)) + 'x'.repeat(room % 2);
    expect(faultOfPayload({ ...content, body: full }, kind)).toBeNull();
    expect(faultOfPayload({ ...content, body: `${full}x` }, kind)).toMatch(
      `${limit + 1} bytes, more than the ${limit} bytes`,
    );
  });

  test('onesignal: its data alone', () => {
    const overhead = JSON.stringify({ a: '' }).length;
    const fits = { a: 'x'.repeat(2_048 - overhead) };
    expect(faultOfPayload({ ...content, body: 'x'.repeat(3_000), data: fits }, 'onesignal')).toBeNull();
    expect(faultOfPayload({ ...content, data: { a: `${fits.a}x` } }, 'onesignal')).toMatch(/data .* 2049 bytes/);
  });
});
