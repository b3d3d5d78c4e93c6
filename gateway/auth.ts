import { ADMIN, WORKER } from '../contracts/scopes.ts';
import { createAuthenticator, type Authenticate } from '../platform/credentials.ts';
import type { GatewayConfig } from './config.ts';

/** Turns a request's credential into a viewer; null when it has none that is valid. */
export const createAuth = (config: GatewayConfig): Authenticate =>
  createAuthenticator([
    { key: config.adminApiKey, viewer: ADMIN },
    { key: config.workerApiKey, viewer: WORKER },
  ]);
