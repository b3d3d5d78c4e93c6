import { CLIENT_SCOPES, RESERVED_CLIENT_IDS } from '../../contracts/scopes.ts';
import { createApiKey as newKey } from '../../platform/api-key.ts';
import { createPages, type AskedPage, type Connection } from '../../platform/page.ts';
import { refuse, refuseFaults, type Fault, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import type { CreateApiKeyInput } from './generated/graphql.ts';
import type { ApiKeyRow, ApiKeyStore } from './api-key-store.ts';

const pages = createPages<ApiKeyRow>({ kind: 'api-key', keyOf: ({ id }) => id, isKey: isUuid });

/** Makes a key for a client, or refuses with every faulty field named. Only the answer holds the key itself. */
export async function createApiKey(
  store: ApiKeyStore,
  input: CreateApiKeyInput,
  viewer: Viewer,
): Promise<{ kind: 'created'; apiKey: ApiKeyRow; key: string } | Refusal> {
  const [first, ...others] = faultsOf(input);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);
  const { key, prefix, digest } = newKey();
  const apiKey = await store.insert({
    clientId: input.clientId,
    name: input.name.trim(),
    scopes: [...new Set(input.scopes)],
    expiresAt: input.expiresAt ?? null,
    prefix,
    hash: digest,
    createdBy: viewer.id,
  });
  return apiKey === null ? createApiKey(store, input, viewer) : { kind: 'created', apiKey, key };
}

/** Ends a key, by its id or its prefix; one that has ended stays as it is. */
export async function revokeApiKey(store: ApiKeyStore, id: string, viewer: Viewer): Promise<ApiKeyRow | Refusal> {
  const name = isUuid(id) ? { id: id.toLowerCase() } : PREFIX.test(id) ? { prefix: id } : null;
  const revoked = name && (await store.revoke(name, viewer.id));
  return revoked ?? refuse('NOT_FOUND', 'id: there is no such key', 'id', 'NOT_FOUND');
}

/** A page of keys, newest first. */
export async function findApiKeys(
  store: ApiKeyStore,
  clientId: string | null,
  asked: AskedPage,
): Promise<Connection<ApiKeyRow> | Refusal> {
  const fault = clientId === null ? null : faultOfLine(clientId, { max: 63 });
  if (fault !== null) return refuse('BAD_USER_INPUT', `clientId ${fault}`, 'clientId', 'INVALID');
  return pages.read(asked, (after, take) => store.find({ clientId, after, take }));
}

const PREFIX = /^hk_[0-9a-f]{8}$/;
const CLIENT_ID = /^[a-z0-9][a-z0-9_-]{0,62}$/;

function faultsOf({ clientId, name, scopes, expiresAt }: CreateApiKeyInput): Fault[] {
  const unknown = scopes.find((scope) => !CLIENT_SCOPES.some((known) => known === scope));
  const faults: [field: string, fault: string | null][] = [
    ['clientId', CLIENT_ID.test(clientId) ? null : 'must be 1 to 63 lower-case letters, digits, - and _'],
    ['clientId', RESERVED_CLIENT_IDS.includes(clientId) ? "is Herald's own: choose another" : null],
    ['name', faultOfLine(name, { max: 200 })],
    ['scopes', scopes.length > 0 ? null : 'must name at least one'],
    ['scopes', unknown === undefined ? null : `must be of ${CLIENT_SCOPES.join(', ')}`],
    [
      'expiresAt',
      expiresAt == null || (expiresAt > new Date() && expiresAt.getUTCFullYear() <= 9_999)
        ? null
        : 'must be in the future',
    ],
  ];
  return faults.flatMap(([field, fault]) =>
    fault === null ? [] : [{ field, code: 'INVALID', message: `${field} ${fault}` }],
  );
}
