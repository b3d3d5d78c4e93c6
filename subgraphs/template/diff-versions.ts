import { createTwoFilesPatch, OMIT_HEADERS } from 'diff';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import type { DeclaredVariable } from '../rendering/declared-variables.ts';
import type { TemplateContent } from '../rendering/render-message.ts';
import type { TemplateStore } from './store.ts';

export type Difference = {
  locale: string | null;
  part: string;
  before: string | null;
  after: string | null;
  unified: string;
};

type Parts = Map<string, string>;

/** Milliseconds for all parts of one answer; what is left then is shown as replaced as a whole. */
const BUDGET_MS = 200;

/** What differs between two versions of a template, or a refusal where one of them is missing. */
export async function diffVersions(
  store: TemplateStore,
  code: string,
  { from, to }: { from: number; to: number },
): Promise<Difference[] | Refusal> {
  const [older, newer] = await Promise.all([findWhole(store, code, from), findWhole(store, code, to)]);
  if (older === null) return refuse('NOT_FOUND', 'from: there is no version of that number', 'from', 'NOT_FOUND');
  if (newer === null) return refuse('NOT_FOUND', 'to: there is no version of that number', 'to', 'NOT_FOUND');
  const deadline = performance.now() + BUDGET_MS;
  const [localesOf, ofLocale] = [
    ({ contents }: Whole) => contents.map(({ locale }) => locale),
    ({ contents }: Whole, locale: string) => partsOf(contents.find((content) => content.locale === locale)),
  ];
  const locales = [...new Set([...localesOf(older), ...localesOf(newer)])].sort();
  return [
    ...diffParts(null, toDeclaredPart(older.declared), toDeclaredPart(newer.declared), deadline),
    ...locales.flatMap((locale) => diffParts(locale, ofLocale(older, locale), ofLocale(newer, locale), deadline)),
  ];
}

function diffParts(locale: string | null, older: Parts, newer: Parts, deadline: number): Difference[] {
  const names = [...new Set([...older.keys(), ...newer.keys()])];
  return names
    .filter((part) => older.get(part) !== newer.get(part))
    .map((part) => {
      const [before, after] = [older.get(part) ?? null, newer.get(part) ?? null];
      return { locale, part, before, after, unified: unify(before ?? '', after ?? '', deadline) };
    });
}

function unify(before: string, after: string, deadline: number): string {
  const timeout = Math.max(1, deadline - performance.now());
  const options = { context: 3, headerOptions: OMIT_HEADERS, timeout };
  return createTwoFilesPatch('', '', before, after, '', '', options) ?? replaceAll(before, after);
}

function replaceAll(before: string, after: string): string {
  const [old, young] = [before.split('\n'), after.split('\n')];
  return [
    `@@ -1,${old.length} +1,${young.length} @@`,
    ...old.map((line) => `-${line}`),
    ...young.map((line) => `+${line}`),
    '',
  ].join('\n');
}

/** By name, in the order in which people read a message. What is not text is JSON. */
const partsOf = (content: TemplateContent | undefined): Parts =>
  new Map(
    (['email', 'push'] as const).flatMap((channel) =>
      Object.entries(content?.[channel] ?? {}).flatMap(([part, value]: [string, unknown]): [string, string][] =>
        value === null
          ? []
          : [[`${channel}.${part}`, typeof value === 'string' ? value : JSON.stringify(value, null, 2)]],
      ),
    ),
  );

/** One line each, so that the difference of one is a line. */
const toDeclaredPart = (declared: DeclaredVariable[]): Parts =>
  new Map(
    declared.length === 0
      ? []
      : [
          [
            'variables',
            declared
              .map(({ name, type, required, description }) =>
                [`${name}: ${type}`, required ? ', required' : '', description == null ? '' : `, ${description}`].join(
                  '',
                ),
              )
              .join('\n'),
          ],
        ],
  );

type Whole = { declared: DeclaredVariable[]; contents: TemplateContent[] };

async function findWhole(store: TemplateStore, code: string, number: number): Promise<Whole | null> {
  const [version, contents] = await Promise.all([
    store.findVersion({ code, number }),
    store.findContents({ code, number }),
  ]);
  return version && { declared: version.declared, contents };
}
