import { Redis } from 'ioredis';
import { createFaultLog, toReason, type Log } from './log-on-change.ts';

/** What one command may take. */
const COMMAND_TIMEOUT_MS = 200;

/**
 * Connects to Redis or Valkey in the background and for ever anew. Away, a command fails within 200 ms instead of queueing
 * (ioredis's defaults wait), so that a caller can go without.
 * @param url redis:// or rediss://; never logged, for it may hold a password
 * @param away what is logged, once, while it is away
 */
export function connectRedis(url: string, log: Log, { away, back }: { away: string; back: string }) {
  const faults = createFaultLog(log, away);
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
    if (faults.mended()) log.info({}, back);
  });
  return {
    redis,
    async stop() {
      // Between two attempts there is no connection to end.
      const connected = redis.status !== 'reconnecting' && redis.status !== 'end';
      const ended = new Promise<void>((resolve) => redis.once('end', resolve));
      redis.disconnect();
      if (connected) await ended;
    },
  };
}
