import type { Log } from '../log-on-change.ts';
import { connectRedis } from '../redis.ts';
import { CacheUnavailable, type Cache } from './cache.ts';

/**
 * The cache port on Redis or Valkey. Away, it fails within 200 ms, so that a caller goes to its database.
 * @param url redis:// or rediss://
 */
export function createRedisCache(url: string, log: Log): Cache {
  const { redis, stop } = connectRedis(url, log, {
    away: 'the cache is away: going without it, and trying again until it comes',
    back: 'the cache is back',
  });

  const answer = async <T>(command: Promise<T>): Promise<T> => {
    try {
      return await command;
    } catch (cause) {
      throw new CacheUnavailable('the cache does not answer', { cause });
    }
  };

  return {
    get: (key) => answer(redis.hget(key, 'value')),
    async setIfNewer(key, version, value, ttlMs) {
      return (await answer(redis.eval(SET_IF_NEWER, 1, key, version, value, Math.ceil(ttlMs)))) === 1;
    },
    async ping() {
      await answer(redis.ping());
    },
    stop,
  };
}

/** One key per call, so it works on a Cluster too. Lua's numbers are exact up to 2^53, as JavaScript's. */
const SET_IF_NEWER = `
local held = redis.call('HGET', KEYS[1], 'version')
if held and tonumber(held) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;
