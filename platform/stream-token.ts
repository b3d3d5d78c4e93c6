import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { toRing } from './secret-ring.ts';
import type { Viewer } from './trust.ts';

/** Who may watch one notification, and until when they may begin to. */
export type StreamGrant = { viewer: Pick<Viewer, 'kind' | 'id'>; notificationId: string; expiresAt: Date };

const grantSchema = z.tuple([z.enum(['admin', 'client', 'user']), z.string(), z.uuid(), z.int()]);

/** Makes and reads the tokens by which a browser's EventSource, which can't send headers, shows who it is. */
export function createStreamTokens(secrets: string) {
  const ring = toRing(secrets);
  const macOf = (payload: string, { secret } = ring[0]) =>
    createHmac('sha256', secret).update('stream-token').update(payload).digest();
  return {
    toToken({ viewer, notificationId, expiresAt }: StreamGrant): string {
      const grant = [viewer.kind, viewer.id, notificationId, expiresAt.getTime()];
      const payload = Buffer.from(JSON.stringify(grant)).toString('base64url');
      return `${payload}.${macOf(payload).toString('base64url')}`;
    },
    /** Null for one that was not made here, or is over. A query may hold it twice, as a list. */
    parseToken(token: string | string[]): StreamGrant | null {
      if (typeof token !== 'string') return null;
      const [payload = '', given = '', ...rest] = token.split('.');
      const mac = Buffer.from(given, 'base64url');
      const isOurs = ring.some((key) => {
        const expected = macOf(payload, key);
        return mac.length === expected.length && timingSafeEqual(mac, expected);
      });
      if (!isOurs || rest.length > 0) return null;
      const [kind, id, notificationId, expiresAt] = grantSchema.parse(
        JSON.parse(Buffer.from(payload, 'base64url').toString()),
      );
      return expiresAt > Date.now() ? { viewer: { kind, id }, notificationId, expiresAt: new Date(expiresAt) } : null;
    },
  };
}

export type StreamTokens = ReturnType<typeof createStreamTokens>;
