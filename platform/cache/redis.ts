import { Redis } from 'ioredis';
import { createFaultLog, toReason, type Log } from '../log-on-change.ts';
import { CacheUnavailable, type Cache } from './cache.ts';

/**
 * The cache port on Redis or Valkey. It connects in the background and for ever anew; away, it fails within 200 ms
 * instead of queueing (ioredis's defaults wait), so that a caller goes to its database.
 * @param url redis:// or rediss://; never logged, for it may hold a password
 */
export function createRedisCache(url: string, log: Log): Cache {
  const faults = createFaultLog(log, 'the cache is away: going without it, and trying again until it comes');
  const redis = new Redis(url, {
    commandTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 5_000,
    // A cut cable closes no socket: without an answer for this long the connection is made anew.
    socketTimeout: 5_000,
    retryStrategy: (attempt) => Math.min(5_000, 100 * 2 ** Math.min(attempt, 6)) * (0.5 + Math.random() / 2),
  });
  redis.on('error', (error: unknown) => faults.fault(toReason(error)));
  redis.on('ready', () => {
    if (faults.mended()) log.info({}, 'the cache is back');
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
    async stop() {
      // Between two attempts there is no connection to end.
      const connected = redis.status !== 'reconnecting' && redis.status !== 'end';
      const ended = new Promise<void>((resolve) => redis.once('end', resolve));
      redis.disconnect();
      if (connected) await ended;
    },
  };
}

const COMMAND_TIMEOUT_MS = 200;

/** One key per call, so it works on a Cluster too. Lua's numbers are exact up to 2^53, as JavaScript's. */
const SET_IF_NEWER = `
local held = redis.call('HGET', KEYS[1], 'version')
if held and tonumber(held) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;
