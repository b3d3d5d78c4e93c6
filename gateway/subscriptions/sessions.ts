import { readCredential, type Authenticate } from '../../platform/credentials.ts';
import type { Running } from '../../platform/lifecycle.ts';
import { unavailable, refuse, type Refusal } from '../../platform/refusal.ts';
import { looksLikeToken, type Token } from '../../platform/tokens.ts';
import type { Viewer } from '../../platform/trust.ts';

export type CredentialHeaders = Record<string, string | string[] | undefined>;

/** Why Herald ends a connection that the client would have kept. */
export type SessionEnd = 'expired' | 'revoked';

/** For who is told so before anything else could be. */
export const CREDENTIAL_ENDED = refuse('UNAUTHENTICATED', 'the credential has run out or was revoked: give another');

export type Session = { viewer: Viewer; close(): void };

export type Sessions = Running & {
  /**
   * Says who shows a credential, and watches from then on whether it still holds.
   * @param onEnd is called once when it no longer does
   * @returns UNAUTHENTICATED for none that is valid, RATE_LIMITED for too many connections of one viewer (the admin has no limit), UNAVAILABLE when nobody can say
   */
  open(headers: CredentialHeaders, onEnd: (why: SessionEnd) => void): Promise<Session | Refusal>;
  /** The same for somebody whose credential was looked at elsewhere, and holds for as long as the connection. */
  admit(viewer: Viewer): Session | Refusal;
};

type Watched = { headers: CredentialHeaders; onEnd: Set<() => void> };

/**
 * Whoever holds a connection: their number, and whether their credential still opens anything. A token's end is known; a key is asked for
 * again and again, all of its connections with one question, so that one that is revoked closes them within 5 s.
 */
export function createSessions({
  authenticate,
  verifyToken,
  maxPerViewer,
}: {
  authenticate: Authenticate;
  verifyToken: (token: string) => Promise<Token | null>;
  maxPerViewer: number;
}): Sessions {
  const open = new Map<string, number>();
  const watched = new Map<string, Watched>();

  const admit = (viewer: Viewer): Session | Refusal => {
    const key = `${viewer.kind} ${viewer.id}`;
    const count = (open.get(key) ?? 0) + 1;
    if (count > maxPerViewer && viewer.kind !== 'admin')
      return refuse('RATE_LIMITED', `more than ${maxPerViewer} connections at once: share one between subscriptions`);
    open.set(key, count);
    let isOpen = true;
    return {
      viewer,
      close() {
        if (!isOpen) return;
        isOpen = false;
        const left = (open.get(key) ?? 1) - 1;
        if (left === 0) open.delete(key);
        else open.set(key, left);
      },
    };
  };

  /** @returns what stops it */
  const watch = (credential: string, headers: CredentialHeaders, onEnd: () => void): (() => void) => {
    const entry = watched.get(credential) ?? { headers, onEnd: new Set() };
    watched.set(credential, entry);
    entry.onEnd.add(onEnd);
    return () => {
      entry.onEnd.delete(onEnd);
      if (entry.onEnd.size === 0 && watched.get(credential) === entry) watched.delete(credential);
    };
  };

  let looking: Promise<unknown> | undefined;
  const look = async () => {
    await Promise.all(
      [...watched].map(async ([credential, { headers, onEnd }]) => {
        // While nobody can say, it holds as it did.
        const holds = await authenticate(headers).then(
          (viewer) => viewer !== null,
          () => true,
        );
        if (holds) return;
        watched.delete(credential);
        for (const end of onEnd) end();
      }),
    );
  };
  const timer = setInterval(() => {
    looking ??= look().finally(() => {
      looking = undefined;
    });
  }, LOOK_EVERY_MS);

  return {
    admit,
    async open(headers, onEnd) {
      const viewer = await authenticate(headers).catch(() => undefined);
      if (viewer === undefined)
        return unavailable('nobody can say now whose the credential is: try again in a moment', 2);
      const credential = readCredential(headers);
      if (viewer === null || credential === null)
        return refuse('UNAUTHENTICATED', 'no valid credential: give "authorization": "Bearer <key or token>"');
      const session = admit(viewer);
      if ('kind' in session) return session;

      let stopWatching = () => {};
      if (viewer.kind === 'client') stopWatching = watch(credential, headers, () => onEnd('revoked'));
      else if (looksLikeToken(credential)) {
        const token = await verifyToken(credential);
        const leftMs = (token?.expiresAt.getTime() ?? 0) - Date.now();
        const end = setTimeout(() => onEnd('expired'), Math.max(0, Math.min(leftMs, MAX_TIMER_MS)));
        stopWatching = () => clearTimeout(end);
      }
      return {
        viewer,
        close() {
          stopWatching();
          session.close();
        },
      };
    },
    async stop() {
      clearInterval(timer);
      await looking;
    },
  };
}

/** A credential as clients send it where headers can't be: `connectionParams` of a WebSocket. */
export function toCredentialHeaders(params: Record<string, unknown> | undefined): CredentialHeaders {
  const found = Object.entries(params ?? {}).flatMap(([name, value]) =>
    typeof value === 'string' && ['authorization', 'x-api-key'].includes(name.toLowerCase())
      ? [[name.toLowerCase(), value] as const]
      : [],
  );
  return Object.fromEntries(found);
}

/** With what is known for 4 s (key-lookup), under 5 s. */
const LOOK_EVERY_MS = 900;
const MAX_TIMER_MS = 2 ** 31 - 1;
