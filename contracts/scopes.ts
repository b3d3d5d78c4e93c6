/** What a credential may do. A field of the graph that needs one checks it with `requireScope`. */
export const SCOPES = [
  'users:read',
  'users:write',
  'users:bury-tokens',
  'templates:read',
  'templates:write',
  'notifications:read',
  'notifications:send',
  'notifications:manage',
  'notifications:erase',
  'status:report',
  'feedback:report',
] as const;

export type Scope = (typeof SCOPES)[number];

/** The client behind ADMIN_API_KEY: every scope. */
export const ADMIN = { kind: 'admin', id: 'admin', scopes: SCOPES } as const;

/** A user with an access token: what is theirs, and nothing else. */
export const toUserViewer = (id: string) =>
  ({ kind: 'user', id, scopes: ['users:read', 'users:write', 'notifications:read'] }) as const;

/** Whoever shows no credential: may log in. */
export const ANONYMOUS = { kind: 'anonymous', id: 'anonymous', scopes: [] } as const;

/** The processes behind WORKER_API_KEY. */
export const WORKER = { kind: 'worker', id: 'worker', scopes: ['status:report', 'users:read'] } as const;

/** The user service, when it tells that a user was deleted. */
export const USER_SERVICE = { kind: 'service', id: 'user', scopes: ['notifications:erase'] } as const;

/** The gateway, when it passes on what providers and recipients tell it at its open doors. */
export const GATEWAY_SERVICE = { kind: 'service', id: 'gateway', scopes: ['feedback:report'] } as const;

/** The notification subgraph, when it asks the user and the template subgraph. */
export const NOTIFICATION_SERVICE = {
  kind: 'service',
  id: 'notification',
  scopes: ['users:read', 'users:bury-tokens', 'templates:read'],
} as const;
