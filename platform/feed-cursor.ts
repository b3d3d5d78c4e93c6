import { createHmac, timingSafeEqual } from 'node:crypto';
import { toRing } from './secret-ring.ts';
import { toUuid } from './text.ts';

/** A place in the feed: everything up to `seq` of this epoch was seen. */
export type FeedPlace = { epoch: string; seq: number };

/** Makes and reads cursors: opaque to clients, signed so that nobody can make one up. */
export function createCursors(secrets: string) {
  const ring = toRing(secrets);
  const macOf = (payload: Buffer, { secret } = ring[0]) =>
    createHmac('sha256', secret).update('feed-cursor').update(payload).digest().subarray(0, MAC_BYTES);
  return {
    toCursor({ epoch, seq }: FeedPlace): string {
      const payload = Buffer.alloc(PAYLOAD_BYTES);
      payload.write(epoch.replaceAll('-', ''), 0, 'hex');
      payload.writeBigUInt64BE(BigInt(seq), 16);
      return Buffer.concat([payload, macOf(payload)]).toString('base64url');
    },
    /** Null when the cursor was not made here. */
    parseCursor(cursor: string): FeedPlace | null {
      const bytes = Buffer.from(cursor, 'base64url');
      if (bytes.length !== PAYLOAD_BYTES + MAC_BYTES) return null;
      const payload = bytes.subarray(0, PAYLOAD_BYTES);
      const mac = bytes.subarray(PAYLOAD_BYTES);
      if (!ring.some((key) => timingSafeEqual(mac, macOf(payload, key)))) return null;
      const epoch = toUuid(payload.toString('hex', 0, 16));
      return { epoch, seq: Number(payload.readBigUInt64BE(16)) };
    },
  };
}

const PAYLOAD_BYTES = 24;
const MAC_BYTES = 16;

export type Cursors = ReturnType<typeof createCursors>;
