import { ADMIN, toUserViewer, WORKER } from '../contracts/scopes.ts';
import { createAuthenticator, type Authenticate } from '../platform/credentials.ts';
import { createTokenVerifier } from '../platform/tokens.ts';
import type { GatewayConfig } from './config.ts';

/** Turns a request's credential into a viewer; null when it has none that is valid. */
export const createAuth = (config: GatewayConfig): Authenticate => {
  const verify = createTokenVerifier(config.jwtKeys);
  return createAuthenticator(
    [
      { key: config.adminApiKey, viewer: ADMIN },
      { key: config.workerApiKey, viewer: WORKER },
    ],
    async (token) => {
      const valid = await verify(token);
      return valid && toUserViewer(valid.subject);
    },
  );
};
