import { refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine } from '../../platform/text.ts';
import { parseNumber, readPage, type Connection } from './page.ts';
import type { PublicationRow, TemplateRow, TemplateStore, VersionRow } from './store.ts';
import { isCode } from './version-input.ts';

type Page = { first: number; after?: string | null };

/** A page of templates in the order of their codes. */
export async function findTemplates(
  store: TemplateStore,
  { search, ...page }: Page & { search?: string | null },
): Promise<Connection<TemplateRow> | Refusal> {
  const fault = search == null ? null : faultOfLine(search, { max: 200 });
  if (fault !== null) return refuse('BAD_USER_INPUT', `search ${fault}`, 'search', 'INVALID');
  return readPage(
    page,
    'template',
    ({ code }) => code,
    (text) => (isCode(text) ? text : undefined),
    (after, most) => store.findTemplates({ search: search ?? null, after, most }),
  );
}

/** A page of a template's versions, newest first. */
export const findVersions = (
  store: TemplateStore,
  code: string,
  page: Page,
): Promise<Connection<VersionRow> | Refusal> =>
  readPage(
    page,
    `version ${code}`,
    ({ number }) => number,
    parseNumber,
    (before, most) => store.findVersions({ code, before, most }),
  );

/** A page of what was published of a template, newest first. */
export const findPublications = (
  store: TemplateStore,
  code: string,
  page: Page,
): Promise<Connection<PublicationRow> | Refusal> =>
  readPage(
    page,
    `publication ${code}`,
    ({ sequence }) => sequence,
    parseNumber,
    (before, most) => store.findPublications({ code, before, most }),
  );
