import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { CacheUnavailable, type Cache } from '../platform/cache/cache.ts';
import { createEmbeddedCache } from '../platform/cache/embedded.ts';
import { createRedisCache } from '../platform/cache/redis.ts';
import { startPrivateRedis, type PrivateRedis } from './services.ts';
import { until } from './until.ts';

const redisUrl = inject('redisUrl');
const HOUR_MS = 3_600_000;

describe.each([
  { adapter: 'embedded', create: createEmbeddedCache, available: true },
  { adapter: 'Redis', create: () => createRedisCache(redisUrl ?? '', quiet), available: redisUrl !== null },
])('the $adapter cache', ({ create, available }) => {
  const it = test.skipIf(!available);
  let cache: Cache;
  beforeAll(async () => {
    if (!available) return;
    cache = create();
    await until(() => cache.ping().then(() => true));
  });
  afterAll(() => cache?.stop());

  it('has nothing under a key nobody wrote', async () => {
    expect(await cache.get(randomUUID())).toBeNull();
  });

  it('lets a newer version win, and refuses the same and an older one', async () => {
    const key = randomUUID();
    expect(await cache.setIfNewer(key, 5, 'five', HOUR_MS)).toBe(true);
    expect(await cache.setIfNewer(key, 5, 'five again', HOUR_MS)).toBe(false);
    expect(await cache.setIfNewer(key, 4, 'four', HOUR_MS)).toBe(false);
    expect(await cache.get(key)).toBe('five');
    expect(await cache.setIfNewer(key, 10, 'ten', HOUR_MS)).toBe(true);
    expect(await cache.get(key)).toBe('ten');
  });

  it('keeps any text as it is, the empty one too', async () => {
    for (const value of ['', 'grüße 👋\n\u0000', JSON.stringify({ deleted: true })]) {
      const key = randomUUID();
      await cache.setIfNewer(key, 1, value, HOUR_MS);
      expect(await cache.get(key)).toBe(value);
    }
  });

  it('tells versions apart up to the largest safe integer', async () => {
    const key = randomUUID();
    expect(await cache.setIfNewer(key, Number.MAX_SAFE_INTEGER - 1, 'a', HOUR_MS)).toBe(true);
    expect(await cache.setIfNewer(key, Number.MAX_SAFE_INTEGER, 'b', HOUR_MS)).toBe(true);
    expect(await cache.setIfNewer(key, Number.MAX_SAFE_INTEGER - 1, 'c', HOUR_MS)).toBe(false);
    expect(await cache.get(key)).toBe('b');
  });

  it('forgets after the time to live, version and all', async () => {
    const key = randomUUID();
    await cache.setIfNewer(key, 7, 'short-lived', 50);
    expect(await cache.get(key)).toBe('short-lived');
    await until(async () => (await cache.get(key)) === null);
    expect(await cache.setIfNewer(key, 1, 'older, but alone', HOUR_MS)).toBe(true);
  });

  it('ends with the newest of many concurrent writes', async () => {
    const key = randomUUID();
    const versions = Array.from({ length: 100 }, (_, index) => ((index * 37) % 100) + 1);
    await Promise.all(versions.map((version) => cache.setIfNewer(key, version, `v${version}`, HOUR_MS)));
    expect(await cache.get(key)).toBe('v100');
  });
});

describe.skipIf(!inject('privateServices').redis)('Redis and its faults', () => {
  let redis: PrivateRedis;
  beforeAll(async () => {
    redis = await startPrivateRedis();
  });
  afterAll(() => redis?.stop());

  test('away, every call fails within 300 ms; it comes back by itself, and the log stays short', async () => {
    await redis.kill9();
    const warnings: object[] = [];
    const cache = createRedisCache(redis.url, { ...quiet, warn: (fields) => void warnings.push(fields) });
    await failsFast(cache);
    await redis.restart();
    await until(() => cache.ping().then(() => true));
    expect(await cache.setIfNewer('key', 1, 'value', HOUR_MS)).toBe(true);

    await redis.kill9();
    await failsFast(cache);
    await redis.restart();
    await until(() => cache.ping().then(() => true));
    expect(await cache.get('key')).toBeNull();
    expect(warnings.length).toBeLessThan(6);
    await cache.stop();
  });

  test('frozen, as behind a cut cable, every call fails within 300 ms; thawed, it answers again', async () => {
    const cache = createRedisCache(redis.url, quiet);
    await until(() => cache.ping().then(() => true));
    await redis.freeze();
    try {
      await failsFast(cache);
      await failsFast(cache);
    } finally {
      redis.thaw();
    }
    await until(() => cache.ping().then(() => true));
    await cache.stop();
  });

  test('created while Redis is frozen, it connects once Redis answers', async () => {
    await redis.freeze();
    const warnings: object[] = [];
    const cache = createRedisCache(redis.url, { ...quiet, warn: (fields) => void warnings.push(fields) });
    try {
      await failsFast(cache);
      await until(() => warnings.length > 0);
      await failsFast(cache);
    } finally {
      redis.thaw();
    }
    await until(() => cache.ping().then(() => true));
    await cache.stop();
  });

  test('stops at once while it is away, and never logs the password', async () => {
    await redis.kill9();
    const warnings: object[] = [];
    const cache = createRedisCache(redis.url.replace('//', '//:s3cret@'), {
      ...quiet,
      warn: (fields) => void warnings.push(fields),
    });
    await until(() => warnings.length > 0);
    await cache.stop();
    await expect(cache.get('key')).rejects.toBeInstanceOf(CacheUnavailable);
    expect(JSON.stringify(warnings)).not.toContain('s3cret');
    await redis.restart();
  });
});

async function failsFast(cache: Cache): Promise<void> {
  const started = performance.now();
  const outcomes = await Promise.allSettled([
    cache.get('key'),
    cache.setIfNewer('key', 1, 'value', HOUR_MS),
    cache.ping(),
  ]);
  expect(performance.now() - started).toBeLessThan(300);
  for (const outcome of outcomes)
    expect(outcome.status === 'rejected' && outcome.reason).toBeInstanceOf(CacheUnavailable);
}

const quiet = { info() {}, warn() {}, error() {} };
