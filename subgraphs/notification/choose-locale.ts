/**
 * The language to render in: the asked one, the user's, then each of them without its region, then the template's default.
 * @param available the languages the template has
 */
export function chooseLocale(
  available: string[],
  asked: string | null,
  users: string | null,
  fallback: string,
): string {
  const wanted = [asked, languageOf(asked), users, languageOf(users)];
  const chosen = wanted.find((locale) => locale !== null && available.some((have) => isSame(have, locale)));
  return available.find((have) => isSame(have, chosen ?? fallback)) ?? fallback;
}

const languageOf = (locale: string | null) => locale?.split('-')[0] ?? null;

const isSame = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();
