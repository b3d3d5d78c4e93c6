import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { isPassword } from '../../platform/password.ts';
import type { RateLimiter, RateLimits } from '../../platform/rate-limit.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfEmail } from '../../platform/text.ts';
import { createTokenSigner, type KeyRing } from '../../platform/tokens.ts';
import type { UserRow, UserStore } from './store.ts';

export type Session = { kind: 'session'; accessToken: string; expiresAt: Date; refreshToken: string; user: UserRow };

export type Sessions = ReturnType<typeof createSessions>;

/** Logs users in and keeps them so: a short access token, and a refresh token that is used once (RFC 9700, section 4.14). */
export function createSessions(
  store: UserStore,
  limits: RateLimits,
  keys: KeyRing,
  life: { accessSeconds: number; refreshDays: number },
) {
  const throttle = createThrottle(limits);
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
    /** @param address where the attempt comes from */
    async logIn(email: string, password: string, address: string): Promise<Session | Refusal> {
      const attempt = await throttle(email, address);
      if (attempt.kind === 'refused') return attempt;
      const user = faultOfEmail(email) === null ? await store.findUserByEmail(email) : null;
      const isRight = await isPassword(password, user?.passwordHash ?? null);
      if (user === null || !isRight) return WRONG;
      await attempt.forgive();
      return begin(user, randomUUID());
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

/**
 * How often somebody may be wrong: with one account from one address, with one account from anywhere, from one address with any. An
 * account that does not exist counts as one that does, so nobody learns which.
 */
function createThrottle(limits: RateLimits) {
  const pair = limits.create('log-in:account-and-address', 10, QUARTER_HOUR_S);
  const account = limits.create('log-in:account', 100, QUARTER_HOUR_S);
  const from = limits.create('log-in:address', 100, QUARTER_HOUR_S);

  return async (email: string, address: string): Promise<{ kind: 'attempt'; forgive(): Promise<void> } | Refusal> => {
    const name = hashOf(email.toLowerCase()).toString('base64url');
    const counted: [RateLimiter, string][] = [
      [pair, `${name}:${address}`],
      [account, name],
      [from, address],
    ];
    // Counted before the password is looked at, so that many at once are not each the first.
    const shares = await Promise.all(counted.map(([limiter, key]) => limiter.consume(key)));
    const resetSeconds = Math.max(...shares.map((share) => (share.allowed ? 0 : share.resetSeconds)));
    if (resetSeconds > 0)
      return {
        ...refuse('RATE_LIMITED', `too many log-ins failed: try again in ${Math.ceil(resetSeconds / 60)} min`),
        retryAfterSeconds: resetSeconds,
      };
    return {
      kind: 'attempt',
      async forgive() {
        await Promise.all(counted.map(([limiter, key]) => limiter.giveBack(key)));
      },
    };
  };
}

const QUARTER_HOUR_S = 15 * 60;

const WRONG = refuse('UNAUTHENTICATED', 'email and password do not fit');

const DAY_MS = 24 * 3_600_000;

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();
