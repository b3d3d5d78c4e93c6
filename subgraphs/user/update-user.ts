import { MAX_TARGETS } from '../../contracts/report.ts';
import { hashPassword } from '../../platform/password.ts';
import { refuse, refuseFaults, type Refusal } from '../../platform/refusal.ts';
import { isUuid } from '../../platform/text.ts';
import type { UpdateUserInput } from './generated/graphql.ts';
import { tooManyDevices } from './add-push-token.ts';
import { kindOfToken } from './push-token.ts';
import type { NewToken, UserRow, UserStore } from './store.ts';
import { faultsOfUser } from './user-faults.ts';

const noSuchUser = refuse('NOT_FOUND', 'id: there is no such user', 'id', 'NOT_FOUND');

/** Changes what the input names, or refuses with every faulty field named. */
export async function updateUser(
  store: UserStore,
  id: string,
  input: UpdateUserInput,
): Promise<({ kind: 'user' } & UserRow) | Refusal> {
  const [first, ...others] = faultsOfUser(input);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);
  if (!isUuid(id)) return noSuchUser;
  const change = {
    ...(input.name != null && { name: input.name.trim() }),
    ...(input.email !== undefined && { email: input.email }),
    ...(input.pushToken !== undefined && { pushToken: toToken(input.pushToken) }),
    ...(input.locale !== undefined && { locale: input.locale }),
    ...(input.timeZone !== undefined && { timeZone: input.timeZone }),
    ...(input.preferences != null && { emailEnabled: input.preferences.email, pushEnabled: input.preferences.push }),
    ...(input.password != null && { passwordHash: await hashPassword(input.password) }),
  };
  const updated = await store.updateUser(id, change, MAX_TARGETS);
  switch (updated.kind) {
    case 'updated':
      return { kind: 'user', ...updated.user };
    case 'no user':
      return noSuchUser;
    case 'full':
      return tooManyDevices('pushToken');
    case 'taken':
      return refuse('CONFLICT', 'email belongs to another user already', 'email', 'TAKEN');
  }
}

const toToken = (token: string | null): NewToken | null =>
  token === null ? null : { kind: kindOfToken(token), token };
