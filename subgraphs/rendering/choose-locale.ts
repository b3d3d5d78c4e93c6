import type { NotificationType } from '../../contracts/jobs.ts';

/** Why a language was chosen, in the order in which they are tried. */
export type LocaleSource = 'ASKED' | 'ASKED_LANGUAGE' | 'USER' | 'USER_LANGUAGE' | 'TEMPLATE_DEFAULT';

/**
 * The language to render in: the asked one, then it without its region; the user's, then it without its region; the template's
 * default. A tag loses one part after the other (RFC 4647, Lookup): zh-Hant-TW, zh-Hant, zh.
 * @param available the languages the template has
 * @returns the language as the template spells it, and which of these it was
 */
export function chooseLocale(
  available: string[],
  asked: string | null,
  users: string | null,
  fallback: string,
): { locale: string; source: LocaleSource } {
  const wanted: [locale: string, source: LocaleSource][] = [
    ...shorterAndShorter(asked).map((tag, index): [string, LocaleSource] => [tag, index ? 'ASKED_LANGUAGE' : 'ASKED']),
    ...shorterAndShorter(users).map((tag, index): [string, LocaleSource] => [tag, index ? 'USER_LANGUAGE' : 'USER']),
    [fallback, 'TEMPLATE_DEFAULT'],
  ];
  for (const [tag, source] of wanted) {
    const locale = available.find((have) => have.toLowerCase() === tag.toLowerCase());
    if (locale !== undefined) return { locale, source };
  }
  return { locale: fallback, source: 'TEMPLATE_DEFAULT' };
}

/**
 * The content to render: a language that says nothing on the channel counts as missing.
 * @param type null: any channel
 * @returns null when there is not even the template's default language
 */
export function chooseContent<Content extends { locale: string; email: unknown; push: unknown }>(
  contents: Content[],
  type: NotificationType | null,
  { asked, users, fallback }: { asked: string | null; users: string | null; fallback: string },
): { content: Content; source: LocaleSource } | null {
  const speaking = type === null ? contents : contents.filter((content) => content[type] !== null);
  const candidates = speaking.length > 0 ? speaking : contents;
  const { locale, source } = chooseLocale(
    candidates.map((content) => content.locale),
    asked,
    users,
    fallback,
  );
  // All of them: where no language that speaks fits, the default one says that it has nothing for the channel.
  const content = contents.find((candidate) => candidate.locale === locale);
  return content === undefined ? null : { content, source };
}

function shorterAndShorter(locale: string | null): string[] {
  const parts = locale?.split('-') ?? [];
  return parts.map((_, dropped) => parts.slice(0, parts.length - dropped).join('-'));
}
