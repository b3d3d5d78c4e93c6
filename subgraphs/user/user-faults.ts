import type { Fault } from '../../platform/refusal.ts';
import { faultOfEmail, faultOfLine, faultOfLocale, faultOfTimeZone } from '../../platform/text.ts';
import { faultOfToken } from './push-token.ts';

type UserFields = {
  name?: string | null;
  email?: string | null;
  pushToken?: string | null;
  locale?: string | null;
  timeZone?: string | null;
  password?: string | null;
};

/** What is wrong with the fields that are set. */
export function faultsOfUser({ name, email, pushToken, locale, timeZone, password }: UserFields): Fault[] {
  const faults = {
    // Unlike the others, a name can't be taken away.
    name: name === undefined ? null : faultOfLine(name ?? '', { max: 200 }),
    email: email == null ? null : faultOfEmail(email),
    pushToken: pushToken == null ? null : faultOfToken(pushToken),
    locale: locale == null ? null : faultOfLocale(locale),
    timeZone: timeZone == null ? null : faultOfTimeZone(timeZone),
    password: password == null ? null : faultOfPassword(password),
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
