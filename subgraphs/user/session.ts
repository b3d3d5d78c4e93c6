import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { isPassword } from '../../platform/password.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { createTokenSigner, type KeyRing } from '../../platform/tokens.ts';
import type { UserRow, UserStore } from './store.ts';

export type Session = { kind: 'session'; accessToken: string; expiresAt: Date; refreshToken: string; user: UserRow };

export type Sessions = ReturnType<typeof createSessions>;

/** Logs users in and keeps them so: a short access token, and a refresh token that is used once (RFC 9700, section 4.14). */
export function createSessions(store: UserStore, keys: KeyRing, life: { accessSeconds: number; refreshDays: number }) {
  const sign = createTokenSigner(keys);

  const begin = async (user: UserRow, family: string): Promise<Session> => {
    const refreshToken = randomBytes(32).toString('base64url');
    const expiresAt = new Date(Date.now() + life.refreshDays * DAY_MS);
    // A log-in is rare, and expired tokens are few.
    await store.purgeRefreshTokens();
    await store.insertRefreshToken({ hash: hashOf(refreshToken), userId: user.id, family, expiresAt });
    return {
      kind: 'session',
      accessToken: await sign(user.id, life.accessSeconds),
      expiresAt: new Date(Date.now() + life.accessSeconds * 1_000),
      refreshToken,
      user,
    };
  };

  return {
    async logIn(email: string, password: string): Promise<Session | Refusal> {
      const user = await store.findUserByEmail(email);
      const isRight = await isPassword(password, user?.passwordHash ?? null);
      return user !== null && isRight ? begin(user, randomUUID()) : WRONG;
    },

    /** A token that comes a second time was stolen from somebody: whoever holds its followers is logged out too. */
    async refresh(refreshToken: string): Promise<Session | Refusal> {
      const used = await store.useRefreshToken(hashOf(refreshToken));
      switch (used.kind) {
        case 'used':
          return begin(used.user, used.family);
        case 'unknown':
          return refuse('UNAUTHENTICATED', 'refreshToken is not valid: log in again', 'refreshToken', 'INVALID');
        case 'again':
          return refuse(
            'UNAUTHENTICATED',
            'refreshToken was used before, so its sessions were ended: log in again',
            'refreshToken',
            'USED',
          );
      }
    },

    logOut: (refreshToken: string): Promise<boolean> => store.endFamily(hashOf(refreshToken)),
  };
}

const WRONG = refuse('UNAUTHENTICATED', 'email and password do not fit');

const DAY_MS = 24 * 3_600_000;

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();
