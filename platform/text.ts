import { domainToASCII } from 'node:url';

/** Text rules shared by every input. Each returns null when the text is fine, else what is wrong with it. */

/** One line: no control characters (a line break would end a mail header), no half of a surrogate pair. */
export function faultOfLine(text: string, { max }: { max: number }): string | null {
  if (text.trim() === '') return 'must not be empty';
  return faultOfLength(text, max) ?? (CONTROL.test(text) ? 'must not contain control characters' : null);
}

/** Any text: line breaks and tabs are fine. */
export function faultOfText(text: string, { max }: { max: number }): string | null {
  if (text.trim() === '') return 'must not be empty';
  return faultOfLength(text, max) ?? (CONTROL_BUT_SPACE.test(text) ? 'must not contain control characters' : null);
}

/** An e-mail address: a local part and a domain that has a DNS form, internationalised ones included. */
export function faultOfEmail(text: string): string | null {
  const [, local, domain] = EMAIL.exec(text) ?? [];
  const fits = local !== undefined && domain !== undefined && text.length <= 254 && local.length <= 64;
  const valid = fits && text.isWellFormed() && isDomain(domain);
  return valid ? null : 'must be an e-mail address such as ada@example.com';
}

/** One spelling for each address, to compare by: lower case, an internationalised domain in its DNS form. */
export function toCanonicalEmail(address: string): string {
  const at = address.lastIndexOf('@');
  const domain = address.slice(at + 1);
  return `${address.slice(0, at)}@${domainToASCII(domain) || domain}`.toLowerCase();
}

/** A BCP 47 language tag. */
export function faultOfLocale(text: string): string | null {
  try {
    return Intl.getCanonicalLocales(text).length === 1 ? null : NOT_A_LOCALE;
  } catch {
    return NOT_A_LOCALE;
  }
}

/** An IANA time zone. */
export function faultOfTimeZone(text: string): string | null {
  try {
    new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions();
    return null;
  } catch {
    return 'must be a time zone (IANA) such as Europe/Vienna';
  }
}

/** A JSON value whose every string PostgreSQL and a mail can carry. Returns the path of the first bad one, or null. */
export function badStringIn(value: unknown, path: string): string | null {
  if (typeof value === 'string') return value.isWellFormed() && !value.includes('\0') ? null : path;
  if (typeof value !== 'object' || value === null) return null;
  for (const [key, item] of Object.entries(value)) {
    if (!key.isWellFormed() || key.includes('\0')) return path;
    const bad = badStringIn(item, `${path}.${key}`);
    if (bad !== null) return bad;
  }
  return null;
}

/** Text that is not ours to refuse (a provider's words), as PostgreSQL can keep it: cut, no NUL, no half of a surrogate pair. */
export const toStorable = (text: string, max = Infinity) =>
  text.slice(0, max).toWellFormed().replaceAll('\0', '\uFFFD');

/** A key that another subgraph names may be anything, whatever its type says. */
export const isUuid = (text: string) => typeof text === 'string' && UUID.test(text);

/** A UUID of its 32 hexadecimal digits. */
export const toUuid = (hex: string) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

function faultOfLength(text: string, max: number): string | null {
  if (Buffer.byteLength(text) > max) return `must be at most ${max} bytes`;
  return text.isWellFormed() ? null : 'must be valid Unicode';
}

const isDomain = (domain: string) =>
  URL.canParse(`http://${domain}`) && DOMAIN.test(new URL(`http://${domain}`).hostname);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const EMAIL = /^([^\s@"(),:;<>[\\\]\p{Cc}]+)@([^\s@/?#:]+)$/u;
const DOMAIN = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const NOT_A_LOCALE = 'must be a language tag (BCP 47) such as en or de-AT';
/** What no line may hold, U+2028 and U+2029 among them: readers take those for line breaks. */
export const CONTROL = /[\p{Cc}\u2028\u2029]/u;
const CONTROL_BUT_SPACE = /[^\P{Cc}\t\n\r]/u;
