import { ADMIN, GATEWAY_SERVICE, REPORTER, toClientViewer, toUserViewer } from '../contracts/scopes.ts';
import { createAuthenticator, type Authenticate } from '../platform/credentials.ts';
import { createRemoteKeyLookup } from '../platform/key-lookup.ts';
import type { ServiceClient } from '../platform/service-client.ts';
import { createTokenVerifier } from '../platform/tokens.ts';
import type { GatewayConfig } from './config.ts';

/** Turns a request's credential into a viewer; null when it has none that is valid. Rejects when the user service is away and nobody can say. */
export const createAuth = (config: GatewayConfig, users: ServiceClient): Authenticate => {
  const verify = createTokenVerifier(config.jwtKeys);
  return createAuthenticator(
    [
      { keys: config.adminApiKey, viewer: ADMIN },
      { keys: config.workerApiKey, viewer: REPORTER },
    ],
    {
      findKey: createRemoteKeyLookup(users, GATEWAY_SERVICE, toClientViewer),
      verifyToken: async (token) => {
        const valid = await verify(token);
        return valid && toUserViewer(valid.subject);
      },
    },
  );
};
