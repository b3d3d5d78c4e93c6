/**
 * The cache port: small values under versioned keys. Two adapters, `redis.ts` (ioredis) and `embedded.ts` (lru-cache);
 * tests/cache-contract.test.ts runs the same suite over both.
 */
export interface Cache {
  /** The value, or null when there is none. Rejects with CacheUnavailable within 200 ms when the cache is away. */
  get(key: string): Promise<string | null>;
  /**
   * Writes unless the key already holds the same or a newer version; one atomic step. Returns whether it wrote.
   * @param ttlMs time to live, milliseconds
   */
  setIfNewer(key: string, version: number, value: string, ttlMs: number): Promise<boolean>;
  /** Resolves when the cache answers; rejects with CacheUnavailable. */
  ping(): Promise<void>;
  stop(): Promise<void>;
}

export class CacheUnavailable extends Error {
  override name = 'CacheUnavailable';
  readonly code = 'CACHE_UNAVAILABLE';
}
