import { LRUCache } from 'lru-cache';
import type { Cache } from './cache.ts';

/** The cache port in memory: the 100,000 entries used last. */
export function createEmbeddedCache(): Cache {
  const entries = new LRUCache<string, { version: number; value: string }>({ max: MAX_ENTRIES });
  return {
    async get(key) {
      return entries.get(key)?.value ?? null;
    },
    async setIfNewer(key, version, value, ttlMs) {
      const held = entries.get(key);
      if (held && held.version >= version) return false;
      entries.set(key, { version, value }, { ttl: ttlMs });
      return true;
    },
    async ping() {},
    async stop() {
      entries.clear();
    },
  };
}

const MAX_ENTRIES = 100_000;
