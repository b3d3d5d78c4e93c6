import type { Fault } from '../../platform/refusal.ts';
import { badStringIn, faultOfLine, faultOfLocale, faultOfText } from '../../platform/text.ts';
import type { DeclaredVariable } from '../rendering/declared-variables.ts';
import type { TemplateContent } from '../rendering/render-message.ts';
import type { DeclaredVariableInput, EmailContentInput, PushContentInput } from './generated/graphql.ts';

type ContentInput = {
  locale: string;
  email?: EmailContentInput | null | undefined;
  push?: PushContentInput | null | undefined;
};

const MAX_LOCALES = 100;
const MAX_VERSION_BYTES = 2 * 1024 * 1024;
const MAX_VARIABLES = 200;
const MAX_TEXT_BYTES = 256 * 1024;
/** Four weeks: the longest that any push service keeps a message (FCM). */
const MAX_TTL_SECONDS = 2_419_200;
const VARIABLE_NAME = /^[A-Za-z_][\w-]{0,99}$/;

/** Lower-case segments; the last one can't be a word that a path ends in. */
export const isCode = (code: string) => typeof code === 'string' && CODE.test(code) && code.length <= 200;

const CODE = /^(?!.*(?:^|\/)(?:versions|publish|rollback|preview)$)[a-z0-9][a-z0-9_-]*(?:\/[a-z0-9][a-z0-9_-]*)*$/;

/** One spelling for each language: de-AT. The tag must be a valid one. */
export const toLocale = (tag: string): string => Intl.getCanonicalLocales(tag)[0] ?? tag;

/** What is wrong with the languages of a version, whatever the Liquid in them says. */
export function faultsOfContents(contents: ContentInput[]): Fault[] {
  const tooMuch = faultOfSize(contents);
  if (tooMuch !== null) return [invalid('contents', tooMuch)];
  const seen = new Set<string>();
  return contents.flatMap((content, index) => {
    const field = `contents.${index}.locale`;
    const fault = faultOfLocale(content.locale);
    if (fault !== null) return [invalid(field, fault)];
    const locale = toLocale(content.locale);
    if (seen.has(locale)) return [invalid(field, `names ${locale}, which another one names already`)];
    seen.add(locale);
    return faultsOfContent(content, `contents.${locale}.`);
  });
}

/** Publishing reads all of it at once. */
export function faultOfSize(contents: object[]): string | null {
  if (contents.length > MAX_LOCALES) return `must be at most ${MAX_LOCALES} languages`;
  return Buffer.byteLength(JSON.stringify(contents)) > MAX_VERSION_BYTES
    ? `must be at most ${MAX_VERSION_BYTES} bytes in all`
    : null;
}

/** @param prefix what its fields are called by: `contents.de.`, or nothing */
export function faultsOfContent({ email, push }: ContentInput, prefix: string): Fault[] {
  const faults: [field: string, fault: string | null][] = [];
  if (push?.ttlSeconds != null && (push.ttlSeconds < 0 || push.ttlSeconds > MAX_TTL_SECONDS))
    faults.push(['push.ttlSeconds', `must be 0 to ${MAX_TTL_SECONDS}`]);
  if (!email && !push) faults.push(['email', 'or push is required: a template says something on at least one channel']);
  for (const [channel, parts] of Object.entries({ email, push })) {
    for (const [part, text] of Object.entries(parts ?? {})) {
      const field = `${channel}.${part}`;
      if (typeof text === 'string') faults.push([field, faultOfText(text, { max: MAX_TEXT_BYTES })]);
      else if (badStringIn(text, field) !== null) faults.push([field, 'must be valid Unicode without NUL']);
      else if (part === 'data' && Buffer.byteLength(JSON.stringify(text)) > MAX_TEXT_BYTES)
        faults.push([field, `must be at most ${MAX_TEXT_BYTES} bytes`]);
    }
  }
  return faults.flatMap(([field, fault]) => (fault === null ? [] : [invalid(prefix + field, fault)]));
}

export function faultsOfDeclarations(variables: DeclaredVariableInput[]): Fault[] {
  if (variables.length > MAX_VARIABLES) return [invalid('variables', `must be at most ${MAX_VARIABLES}`)];
  return variables.flatMap(({ name, description }, index) => {
    const field = `variables.${index}.name`;
    if (!VARIABLE_NAME.test(name))
      return [invalid(field, 'must be letters, digits, - and _, beginning with a letter or _, at most 100')];
    if (name === 'unsubscribe_url') return [invalid(field, "must not be unsubscribe_url, which is Herald's own")];
    if (variables.findIndex((other) => other.name === name) < index)
      return [invalid(field, `names ${name}, which another one names already`)];
    const fault = description == null ? null : faultOfText(description, { max: 500 });
    return fault === null ? [] : [invalid(`variables.${index}.description`, fault)];
  });
}

export function faultsOfReason(reason: string | null | undefined): Fault[] {
  const fault = reason == null ? null : faultOfLine(reason, { max: 1_000 });
  return fault === null ? [] : [invalid('reason', fault)];
}

export const toContent = ({ locale, email, push }: ContentInput): TemplateContent => ({
  locale: toLocale(locale),
  email: email ? { subject: email.subject, html: email.html, text: email.text ?? null } : null,
  push: push
    ? {
        title: push.title,
        body: push.body,
        image: push.image ?? null,
        link: push.link ?? null,
        data: push.data ?? null,
        ttlSeconds: push.ttlSeconds ?? null,
        collapseKey: push.collapseKey ?? null,
      }
    : null,
});

export const toDeclared = ({ name, type, required, description }: DeclaredVariableInput): DeclaredVariable => ({
  name,
  type,
  required: required ?? true,
  description: description ?? null,
});

export const invalid = (field: string, fault: string): Fault => ({
  field,
  code: 'INVALID',
  message: `${field} ${fault}`,
});
