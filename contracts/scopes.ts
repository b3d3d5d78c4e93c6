/** What the key of a client may be allowed to do. A field of the graph that needs one says so. */
export const CLIENT_SCOPES = [
  'users:read',
  'users:write',
  'templates:read',
  'templates:write',
  'notifications:read',
  'notifications:send',
  'notifications:manage',
  'suppressions:manage',
  'status:report',
] as const;

/** And what only the admin, or processes of ours, may. */
export const SCOPES = [
  ...CLIENT_SCOPES,
  'notifications:inspect',
  'keys:manage',
  'audit:read',
  'keys:verify',
  'users:bury-tokens',
  'notifications:erase',
  'feedback:report',
] as const;

export type Scope = (typeof SCOPES)[number];

/** The client behind ADMIN_API_KEY: every scope. */
export const ADMIN = { kind: 'admin', id: 'admin', scopes: SCOPES } as const;

/** No client may be called like somebody of ours. */
export const RESERVED_CLIENT_IDS: readonly string[] = [
  'admin',
  'worker',
  'anonymous',
  'user',
  'gateway',
  'notification',
  'template',
];

/** A client, by one of its keys. What it may read of its own notifications, it may look into. */
export const toClientViewer = ({ id, clientId, scopes }: { id: string; clientId: string; scopes: string[] }) =>
  ({
    kind: 'client',
    id: clientId,
    keyId: id,
    scopes: scopes.includes('notifications:read') ? [...scopes, 'notifications:inspect'] : scopes,
  }) as const;

/** A user with an access token: what is theirs, and nothing else. */
export const toUserViewer = (id: string) =>
  ({ kind: 'user', id, scopes: ['users:read', 'users:write', 'notifications:read'] }) as const;

/** Whoever shows no credential: may log in. */
export const ANONYMOUS = { kind: 'anonymous', id: 'anonymous', scopes: [] } as const;

/** The workers, when they sign what they ask of the user service. */
export const WORKER = { kind: 'worker', id: 'worker', scopes: ['users:read'] } as const;

/** The same by WORKER_API_KEY at the public door: the key alone shows nobody's address. */
export const REPORTER = { kind: 'worker', id: 'worker', scopes: ['status:report'] } as const;

/** The user service, when it tells that a user was deleted. */
export const USER_SERVICE = { kind: 'service', id: 'user', scopes: ['notifications:erase'] } as const;

/** The gateway, when it passes on what providers and recipients tell it at its open doors, and asks whose a key is. */
export const GATEWAY_SERVICE = {
  kind: 'service',
  id: 'gateway',
  scopes: ['feedback:report', 'keys:verify', 'notifications:read'],
} as const;

/** The template service, when it asks whose a key is. */
export const TEMPLATE_SERVICE = { kind: 'service', id: 'template', scopes: ['keys:verify'] } as const;

/** The notification subgraph, when it asks the user and the template subgraph. */
export const NOTIFICATION_SERVICE = {
  kind: 'service',
  id: 'notification',
  scopes: ['users:read', 'users:bury-tokens', 'templates:read'],
} as const;
