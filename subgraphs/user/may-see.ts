import { refuse, toGraphQLError } from '../../platform/refusal.ts';
import type { Viewer } from '../../platform/trust.ts';

/** A user's own token opens that user and no other; every other credential opens what its scopes say. */
export const maySee = (viewer: Viewer, userId: string): boolean =>
  viewer.kind !== 'user' || viewer.id === userId.toLowerCase();

/** @throws as for a user that there is not: nobody learns of others */
export function requireSelf(viewer: Viewer, userId: string, field: string): void {
  if (!maySee(viewer, userId))
    throw toGraphQLError(refuse('NOT_FOUND', `${field}: there is no such user`, field, 'NOT_FOUND'));
}

/** For what concerns many users, or one that is not there yet. @throws FORBIDDEN for a user's own token */
export function requireNoUser(viewer: Viewer): void {
  if (viewer.kind === 'user')
    throw toGraphQLError(refuse('FORBIDDEN', 'a user may do this for nobody: use an API key'));
}
