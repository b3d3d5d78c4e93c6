import { v7 as uuidv7 } from 'uuid';
import { createBatcher } from '../../platform/batch.ts';
import type { Pool } from '../../platform/postgres.ts';

/** What is known of a key; the key itself is nowhere. */
export type ApiKeyRow = {
  id: string;
  clientId: string;
  name: string;
  prefix: string;
  scopes: string[];
  createdAt: Date;
  createdBy: string;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
  revokedAt: Date | null;
  revokedBy: string | null;
};

export type NewApiKey = Pick<ApiKeyRow, 'clientId' | 'name' | 'prefix' | 'scopes' | 'expiresAt' | 'createdBy'> & {
  hash: Buffer;
};

/** Whom a key stands for. */
export type CredentialRow = { id: string; clientId: string; scopes: string[] };

export type ApiKeyStore = ReturnType<typeof createApiKeyStore>;

/** The keys of clients in users_db. */
export function createApiKeyStore(pool: Pool) {
  const read = async (text: string, values: unknown[]) => (await pool.query<ApiKeyRow>(text, values)).rows;

  return {
    /** Null when another key has the prefix, once in four thousand millions. */
    async insert(key: NewApiKey): Promise<ApiKeyRow | null> {
      const [row] = await read(
        `INSERT INTO api_key (id, client_id, name, prefix, hash, scopes, expires_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (prefix) DO NOTHING RETURNING ${COLUMNS}`,
        [uuidv7(), key.clientId, key.name, key.prefix, key.hash, key.scopes, key.expiresAt, key.createdBy],
      );
      return row ?? null;
    },

    /** Newest first; only ids below `after`. */
    find: ({ clientId, after, take }: { clientId: string | null; after: string | null; take: number }) =>
      read(
        `SELECT ${COLUMNS} FROM api_key
         WHERE ($1::text IS NULL OR client_id = $1) AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3`,
        [clientId, after, take],
      ),

    /** Null when there is no such key. Whoever revoked it first stays the one who did. */
    async revoke({ id, prefix }: { id?: string; prefix?: string }, by: string): Promise<ApiKeyRow | null> {
      const [row] = await read(
        `UPDATE api_key SET revoked_at = coalesce(revoked_at, now()), revoked_by = coalesce(revoked_by, $3)
         WHERE id = $1::uuid OR prefix = $2 RETURNING ${COLUMNS}`,
        [id ?? null, prefix ?? null, by],
      );
      return row ?? null;
    },

    /** Whom the key of a digest (SHA-256, hexadecimal) stands for, null when it opens nothing; notes that it was used. */
    findCredential: createBatcher((digests: string[]) => findCredentials(pool, digests), {
      maxItems: 200,
      maxInFlight: 4,
    }),
  };
}

async function findCredentials(pool: Pool, digests: string[]): Promise<(CredentialRow | null)[]> {
  const { rows } = await pool.query<CredentialRow & { digest: string }>({
    name: 'find-credentials',
    text: `
      WITH valid AS (
        SELECT id, client_id, scopes, hash, last_used_at FROM api_key
        WHERE hash = ANY (SELECT decode(digest, 'hex') FROM unnest($1::text[]) AS digest)
          AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())),
      -- A key in use is not written at each use; a row that somebody else is noting is left to them.
      unnoted AS (
        SELECT id FROM api_key
        WHERE id IN (SELECT id FROM valid WHERE last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
        FOR NO KEY UPDATE SKIP LOCKED),
      noted AS (UPDATE api_key SET last_used_at = now() FROM unnoted WHERE api_key.id = unnoted.id)
      SELECT id, client_id AS "clientId", scopes, encode(hash, 'hex') AS digest FROM valid`,
    values: [digests],
  });
  const found = new Map(rows.map(({ digest, ...credential }) => [digest, credential]));
  return digests.map((digest) => found.get(digest) ?? null);
}

const COLUMNS = `id, client_id AS "clientId", name, prefix, scopes, created_at AS "createdAt", created_by AS "createdBy",
  expires_at AS "expiresAt", last_used_at AS "lastUsedAt", revoked_at AS "revokedAt", revoked_by AS "revokedBy"`;
