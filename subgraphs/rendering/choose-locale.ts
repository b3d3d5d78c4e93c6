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

function shorterAndShorter(locale: string | null): string[] {
  const parts = locale?.split('-') ?? [];
  return parts.map((_, dropped) => parts.slice(0, parts.length - dropped).join('-'));
}
