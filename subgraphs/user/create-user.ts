import { hashPassword } from '../../platform/password.ts';
import { refuse, refuseFaults, type Fault, type Refusal } from '../../platform/refusal.ts';
import { faultOfEmail, faultOfLine, faultOfLocale } from '../../platform/text.ts';
import type { CreateUserInput } from './generated/graphql.ts';
import { faultOfToken, kindOfToken } from './push-token.ts';
import type { UserRow, UserStore } from './store.ts';

/** Creates a user, or refuses with every faulty field named. */
export async function createUser(
  store: UserStore,
  input: CreateUserInput,
): Promise<({ kind: 'user' } & UserRow) | Refusal> {
  const [first, ...others] = faultsOf(input);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);

  const user = await store.insertUser({
    name: input.name.trim(),
    email: input.email,
    pushToken: input.pushToken == null ? null : { kind: kindOfToken(input.pushToken), token: input.pushToken },
    locale: input.locale ?? null,
    emailEnabled: input.preferences?.email ?? true,
    pushEnabled: input.preferences?.push ?? true,
    passwordHash: await hashPassword(input.password),
  });
  return user === null
    ? refuse('CONFLICT', 'email belongs to another user already', 'email', 'TAKEN')
    : { kind: 'user', ...user };
}

function faultsOf(input: CreateUserInput): Fault[] {
  const faults = {
    name: faultOfLine(input.name, { max: 200 }),
    email: faultOfEmail(input.email),
    pushToken: typeof input.pushToken === 'string' ? faultOfToken(input.pushToken) : null,
    locale: typeof input.locale === 'string' ? faultOfLocale(input.locale) : null,
    password: faultOfPassword(input.password),
  };
  return Object.entries(faults).flatMap(([field, fault]) =>
    fault === null ? [] : [{ field, code: 'INVALID', message: `${field} ${fault}` }],
  );
}

function faultOfPassword(password: string): string | null {
  if (password.length < 8 || password.length > 200) return 'must have 8 to 200 characters';
  // Halves of surrogate pairs would all hash as one and the same character.
  return password.isWellFormed() ? null : 'must be valid Unicode';
}
