import { LRUCache } from 'lru-cache';
import { digestOfKey } from './api-key.ts';
import { createBatcher } from './batch.ts';
import { ServiceUnavailable, type ServiceClient } from './service-client.ts';
import type { Viewer } from './trust.ts';

/** A revoked key opens nothing after this. */
const CACHE_MS = 4_000;
const MAX_CACHED = 10_000;

/**
 * Whose a key is, known for 4 s; concurrent questions travel together.
 * @param ask answers digests (SHA-256, hexadecimal) in order; null for one that opens nothing
 */
export function createKeyLookup(ask: (digests: string[]) => Promise<(Viewer | null)[]>) {
  const known = new LRUCache<string, { viewer: Viewer | null }>({ max: MAX_CACHED, ttl: CACHE_MS });
  const askTogether = createBatcher(ask, { maxItems: 100, maxInFlight: 8 });

  return async (key: string): Promise<Viewer | null> => {
    const digest = digestOfKey(key).toString('hex');
    const cached = known.get(digest);
    if (cached !== undefined) return cached.viewer;
    // From when it was asked, not from when it was answered.
    const start = performance.now();
    const viewer = await askTogether(digest);
    known.set(digest, { viewer }, { ttl: Math.max(1, CACHE_MS - (performance.now() - start)) });
    return viewer;
  };
}

/** The same for a process that holds no keys: the service that does is asked. Rejects with ServiceUnavailable. */
export const createRemoteKeyLookup = (
  service: ServiceClient,
  asker: Viewer,
  toViewer: (credential: Credential) => Viewer,
) =>
  createKeyLookup(async (digests) => {
    const context = { viewer: asker, requestId: `keys-${Date.now()}` };
    const { data, errors } = await service.graphql({ query: CREDENTIALS, variables: { digests } }, context);
    const [error] = errors ?? [];
    if (error !== undefined) throw new ServiceUnavailable(`nobody can say whose a key is: ${error.message}`);
    return (data?.['credentials'] as (Credential | null)[]).map((credential) => credential && toViewer(credential));
  });

const CREDENTIALS = `query Credentials($digests: [String!]!) {
  credentials(digests: $digests) { id clientId scopes }
}`;

type Credential = { id: string; clientId: string; scopes: string[] };
