import { DateTimeResolver, JSONObjectResolver } from 'graphql-scalars';
import { isDigest } from '../../platform/api-key.ts';
import { readAudit } from '../../platform/audit.ts';
import type { Pool } from '../../platform/postgres.ts';
import { orThrow, refuse, toGraphQLError } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { PreferencesCache } from './cache-preferences.ts';
import type { ApiKeyStore } from './api-key-store.ts';
import { createApiKey, findApiKeys, revokeApiKey } from './api-keys.ts';
import { addPushToken } from './add-push-token.ts';
import { createUser } from './create-user.ts';
import { findUsers } from './find-users.ts';
import type { PushTokenKind, Resolvers } from './generated/graphql.ts';
import { maySee, requireNoUser, requireSelf } from './may-see.ts';
import type { Sessions } from './session.ts';
import type { UserStore } from './store.ts';
import { updateUser } from './update-user.ts';

/** `onDeleted` is called after the commit of a deletion: others must be told. */
type UserDependencies = {
  pool: Pool;
  store: UserStore;
  keys: ApiKeyStore;
  preferences: PreferencesCache;
  sessions: Sessions;
  onDeleted: () => void;
};

/** There is one. */
const AUDIT_TRAIL = { id: 'herald' };

export const createResolvers = ({
  pool,
  store,
  keys,
  preferences,
  sessions,
  onDeleted,
}: UserDependencies): Resolvers => ({
  DateTime: DateTimeResolver,
  JSONObject: JSONObjectResolver,
  Query: {
    user: (_, { id }, { viewer }) => {
      return isUuid(id) && maySee(viewer, id) ? store.findUser(id) : null;
    },
    auditTrail: () => AUDIT_TRAIL,
    me: (_, __, { viewer }) => (viewer.kind === 'user' ? store.findUser(viewer.id) : null),
    users: async (_, { search, ...asked }, { viewer }) => {
      requireNoUser(viewer);
      return orThrow(await findUsers(store, search ?? null, asked));
    },
    apiKeys: async (_, { clientId, ...asked }) => {
      return orThrow(await findApiKeys(keys, clientId ?? null, asked));
    },
    credentials: (_, { digests }) => {
      // One that is none would fail the statement for all that are asked for together.
      return Promise.all(digests.map(async (digest) => (isDigest(digest) ? keys.findCredential(digest) : null)));
    },
  },
  AuditTrail: {
    __resolveReference: () => AUDIT_TRAIL,
    users: async (_, asked) => orThrow(await readAudit(pool, asked)),
  },
  Mutation: {
    createApiKey: async (_, { input }, { viewer }) => {
      return orThrow(await createApiKey(keys, input, viewer));
    },
    revokeApiKey: async (_, { id }, { viewer }) => {
      return orThrow(await revokeApiKey(keys, id, viewer));
    },
    createUser: async (_, { input }, { viewer }) => {
      requireNoUser(viewer);
      return orThrow(await createUser(store, input));
    },
    updateUser: async (_, { id, input }, { viewer }) => {
      requireSelf(viewer, id, 'id');
      const user = orThrow(await updateUser(store, id, input));
      await preferences.fill(user);
      return user;
    },
    logIn: async (_, { email, password }, { address = 'unknown' }) =>
      orThrow(await sessions.logIn(email, password, address)),
    refreshSession: async (_, { refreshToken }) => orThrow(await sessions.refresh(refreshToken)),
    logOut: (_, { refreshToken }) => sessions.logOut(refreshToken),
    setPreferences: async (_, { userId, preferences: wanted }, { viewer }) => {
      requireSelf(viewer, userId, 'userId');
      const user = isUuid(userId) ? await store.setPreferences(userId, wanted) : null;
      if (user === null)
        throw toGraphQLError(refuse('NOT_FOUND', 'userId: there is no such user', 'userId', 'NOT_FOUND'));
      await preferences.fill(user);
      return user;
    },
    addPushToken: async (_, { userId, token }, { viewer }) => {
      requireSelf(viewer, userId, 'userId');
      const added = orThrow(await addPushToken(store, userId, token));
      await preferences.fill(added.user);
      return added.token;
    },
    removePushToken: async (_, { userId, id }, { viewer }) => {
      requireSelf(viewer, userId, 'userId');
      const user = isUuid(userId) && isUuid(id) ? await store.removeToken(userId, id) : null;
      if (user !== null) await preferences.fill(user);
      return user !== null;
    },
    buryPushTokens: async (_, { ids }) => {
      const users = await store.buryTokens(ids.filter(isUuid));
      for (const user of users) await preferences.fill(user);
      return users.length;
    },
    deleteUser: async (_, { id }, { viewer }) => {
      requireSelf(viewer, id, 'id');
      if (!isUuid(id) || !(await store.deleteUser(id))) {
        throw toGraphQLError(refuse('NOT_FOUND', 'id: there is no such user', 'id', 'NOT_FOUND'));
      }
      onDeleted();
      return true;
    },
  },
  PushToken: { kind: ({ kind }) => kind.toUpperCase() as PushTokenKind },
  User: {
    __resolveReference: async ({ id }, { viewer }) => {
      const user = isUuid(id) && maySee(viewer, id) ? await store.findUser(id) : null;
      // A worker asks only when the cache has no answer.
      if (user !== null && viewer.kind === 'worker') await preferences.fill(user);
      return user;
    },
    pushToken: ({ pushTokens }) => pushTokens.find(({ deadAt }) => deadAt === null)?.token ?? null,
    preferences: ({ emailEnabled, pushEnabled }) => ({ email: emailEnabled, push: pushEnabled }),
  },
});
