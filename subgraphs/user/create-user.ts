import { hashPassword } from '../../platform/password.ts';
import { refuse, refuseFaults, type Refusal } from '../../platform/refusal.ts';
import type { CreateUserInput } from './generated/graphql.ts';
import { kindOfToken } from './push-token.ts';
import type { UserRow, UserStore } from './store.ts';
import { faultsOfUser } from './user-faults.ts';

/** Creates a user, or refuses with every faulty field named. */
export async function createUser(
  store: UserStore,
  input: CreateUserInput,
): Promise<({ kind: 'user' } & UserRow) | Refusal> {
  const [first, ...others] = faultsOfUser(input);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);

  const user = await store.insertUser({
    name: input.name.trim(),
    email: input.email,
    pushToken: input.pushToken == null ? null : { kind: kindOfToken(input.pushToken), token: input.pushToken },
    locale: input.locale ?? null,
    timeZone: input.timeZone ?? null,
    emailEnabled: input.preferences?.email ?? true,
    pushEnabled: input.preferences?.push ?? true,
    passwordHash: await hashPassword(input.password),
  });
  return user === null
    ? refuse('CONFLICT', 'email belongs to another user already', 'email', 'TAKEN')
    : { kind: 'user', ...user };
}
