import { refuse, toGraphQLError } from './refusal.ts';
import type { Viewer } from './trust.ts';

/** @throws a FORBIDDEN GraphQL error that names the missing scope */
export function requireScope(viewer: Viewer, scope: string): void {
  if (viewer.scopes.includes(scope)) return;
  throw toGraphQLError(refuse('FORBIDDEN', `this needs the scope ${scope}, which the credential does not have`));
}
