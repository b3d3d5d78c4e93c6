import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Log } from './log-on-change.ts';
import { connectRedis } from './redis.ts';
import { refuse, type Refusal } from './refusal.ts';

/** What is left of somebody's share after a request. */
export type Share = { allowed: boolean; limit: number; remaining: number; resetSeconds: number; windowSeconds: number };

export type RateLimiter = {
  /** Takes points from a share. Never rejects: with Redis away, this process counts for itself. */
  consume(key: string, points?: number): Promise<Share>;
  /** Gives a point back. */
  giveBack(key: string): Promise<void>;
};

export type RateLimits = {
  /** @param name part of the key in Redis @param limit points for each window; 0: no limit */
  create(name: string, limit: number, windowSeconds: number): RateLimiter;
  /** Rejects while Redis is away, without which each process limits by itself. */
  ping(): Promise<unknown>;
  stop(): Promise<void>;
};

/**
 * Limits that all processes share in Redis, one key for each share (so they work on a Cluster). With Redis away each process keeps
 * the same limit by itself: neither an open door nor a closed one.
 * @param url where Redis is; '' counts in this process only
 */
export function createRateLimits({ url, prefix, log }: { url: string; prefix: string; log: Log }): RateLimits {
  const connection =
    url === ''
      ? null
      : connectRedis(url, log, {
          away: 'Redis is away: this process limits rates by itself, and tries again until it comes',
          back: 'Redis is back: rates are limited for all processes together again',
        });

  return {
    create(name, limit, windowSeconds) {
      const options = { keyPrefix: `${prefix}herald:rate:${name}`, points: limit, duration: windowSeconds };
      const local = new RateLimiterMemory(options);
      const limiter =
        connection === null
          ? local
          : new RateLimiterRedis({
              ...options,
              storeClient: connection.redis,
              rejectIfRedisNotReady: true,
              insuranceLimiter: local,
              // Whoever is beyond the limit costs Redis nothing more.
              inMemoryBlockOnConsumed: limit + 1,
            });
      const toShare = ({ remainingPoints, msBeforeNext }: RateLimiterRes, allowed: boolean): Share => ({
        allowed,
        limit,
        remaining: Math.max(0, remainingPoints),
        resetSeconds: Math.max(1, Math.ceil(msBeforeNext / 1_000)),
        windowSeconds,
      });
      const unlimited = { allowed: true, limit, remaining: limit, resetSeconds: windowSeconds, windowSeconds };
      return {
        async consume(key, points = 1) {
          if (limit === 0) return unlimited;
          try {
            return toShare(await limiter.consume(key, points), true);
          } catch (refused) {
            if (refused instanceof RateLimiterRes) return toShare(refused, false);
            throw refused;
          }
        },
        async giveBack(key) {
          if (limit > 0) await limiter.reward(key, 1);
        },
      };
    },
    ping: async () => connection?.redis.ping(),
    stop: async () => connection?.stop(),
  };
}

/** Headers of draft-ietf-httpapi-ratelimit-headers: the policy, and what is left of it. */
export const rateLimitHeaders = (share: Share): Record<string, string> =>
  share.limit === 0
    ? {}
    : {
        'ratelimit-policy': `"default";q=${share.limit};w=${share.windowSeconds}`,
        ratelimit: `"default";r=${share.remaining};t=${share.resetSeconds}`,
      };

export const refuseRate = ({ limit, windowSeconds, resetSeconds }: Share): Refusal => ({
  ...refuse('RATE_LIMITED', `more than ${limit} in ${windowSeconds} s: try again in ${resetSeconds} s`),
  retryAfterSeconds: resetSeconds,
});
