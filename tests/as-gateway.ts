import { createServiceClient } from '../platform/service-client.ts';
import type { Herald } from './start.ts';

/** Asks the notification service as the gateway does, for what is not part of the public graph. The caller stops it. */
export const connectAsGateway = ({ urlOf, secrets }: Pick<Herald, 'urlOf' | 'secrets'>) =>
  createServiceClient({
    url: urlOf('notification'),
    callee: 'notification',
    caller: 'gateway',
    secret: secrets.notification,
    timeoutMs: 5_000,
  });
