import type { Document } from '../client/client.ts';
import { ADMIN } from '../contracts/scopes.ts';
import { signRequest, type Viewer } from '../platform/trust.ts';
import type { Herald } from './start.ts';

/** A client with every right, but not the admin's eyes. */
export const toClient = (id: string): Viewer => ({ ...ADMIN, kind: 'client', id });

/** Asks the notification service as the gateway would for this viewer. @returns the whole GraphQL answer */
export async function askAs<Result, Variables>(
  herald: Herald,
  viewer: Viewer,
  document: Document<Result, Variables>,
  variables: Variables,
): Promise<{ data?: Result; errors?: { message: string; extensions: Record<string, unknown> }[] }> {
  const body = JSON.stringify({ query: document.toString(), variables });
  const request = { method: 'POST', path: '/graphql', body };
  const headers = signRequest(
    request,
    { viewer, requestId: 'story' },
    { caller: 'gateway', callee: 'notification' },
    herald.secrets.notification,
  );
  return (await herald.rest('POST', `${herald.urlOf('notification')}/graphql`, body, headers)).body;
}
