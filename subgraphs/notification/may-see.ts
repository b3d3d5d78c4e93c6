import type { Viewer } from '../../platform/trust.ts';

/** Whether a notification exists for a viewer: the admin's eyes see all, a client's its own, a user's those sent to them. */
export const maySee = (viewer: Viewer, { clientId, userId }: { clientId: string; userId?: string }): boolean =>
  viewer.kind === 'admin' ||
  (viewer.kind === 'client' && viewer.id === clientId) ||
  (viewer.kind === 'user' && viewer.id === userId);
