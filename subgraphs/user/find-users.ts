import { refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid } from '../../platform/text.ts';
import type { UserRow, UserStore } from './store.ts';

const MAX_PAGE = 200;

export type UserPage = { kind: 'page'; rows: UserRow[]; hasNextPage: boolean; hasPreviousPage: boolean };

/** A page of users, newest first. */
export async function findUsers(
  store: UserStore,
  { search, first, after }: { search: string | null; first: number; after: string | null },
): Promise<UserPage | Refusal> {
  if (first < 1 || first > MAX_PAGE)
    return refuse('BAD_USER_INPUT', `first must be 1 to ${MAX_PAGE}`, 'first', 'INVALID');
  const fault = search === null ? null : faultOfLine(search, { max: 200 });
  if (fault !== null) return refuse('BAD_USER_INPUT', `search ${fault}`, 'search', 'INVALID');
  const place = after === null ? null : parseCursor(after);
  if (after !== null && place === null)
    return refuse('BAD_USER_INPUT', 'after is no cursor of this list', 'after', 'INVALID');
  const rows = await store.findUsers({ search, after: place, most: first });
  return {
    kind: 'page',
    rows: rows.slice(0, first),
    hasNextPage: rows.length > first,
    hasPreviousPage: after !== null,
  };
}

/** Opaque to clients. */
export const toCursor = ({ id }: UserRow): string => Buffer.from(`user:${id}`).toString('base64url');

function parseCursor(cursor: string): string | null {
  const [kind, id] = Buffer.from(cursor, 'base64url').toString().split(':');
  return kind === 'user' && id !== undefined && isUuid(id) ? id : null;
}
