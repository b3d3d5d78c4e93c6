import { createPages, type AskedPage, type Connection } from '../../platform/page.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid } from '../../platform/text.ts';
import type { UserRow, UserStore } from './store.ts';

const pages = createPages<UserRow>({ kind: 'user', keyOf: ({ id }) => id, isKey: isUuid });

/** A page of users, newest first. */
export async function findUsers(
  store: UserStore,
  search: string | null,
  asked: AskedPage,
): Promise<Connection<UserRow> | Refusal> {
  const fault = search === null ? null : faultOfLine(search, { max: 200 });
  if (fault !== null) return refuse('BAD_USER_INPUT', `search ${fault}`, 'search', 'INVALID');
  return pages.read(asked, (after, take) => store.findUsers({ search, after, take }));
}
