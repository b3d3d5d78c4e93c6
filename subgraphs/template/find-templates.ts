import { createPages, type AskedPage, type Connection } from '../../platform/page.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine } from '../../platform/text.ts';
import type { PublicationRow, TemplateRow, TemplateStore, VersionRow } from './store.ts';
import { isCode } from './version-input.ts';

const templates = createPages<TemplateRow>({ kind: 'template', keyOf: ({ code }) => code, isKey: isCode });

/** A page of templates in the order of their codes. */
export async function findTemplates(
  store: TemplateStore,
  { search, ...asked }: AskedPage & { search?: string | null },
): Promise<Connection<TemplateRow> | Refusal> {
  const fault = search == null ? null : faultOfLine(search, { max: 200 });
  if (fault !== null) return refuse('BAD_USER_INPUT', `search ${fault}`, 'search', 'INVALID');
  return templates.read(asked, (after, take) => store.findTemplates({ search: search ?? null, after, take }));
}

/** A page of a template's versions, newest first. */
export const findVersions = (
  store: TemplateStore,
  code: string,
  asked: AskedPage,
): Promise<Connection<VersionRow> | Refusal> =>
  createPages<VersionRow>({ kind: `version ${code}`, keyOf: ({ number }) => String(number), isKey: isNumber }).read(
    asked,
    (before, take) => store.findVersions({ code, before: before === null ? null : Number(before), take }),
  );

/** A page of what was published of a template, newest first. */
export const findPublications = (
  store: TemplateStore,
  code: string,
  asked: AskedPage,
): Promise<Connection<PublicationRow> | Refusal> =>
  createPages<PublicationRow>({
    kind: `publication ${code}`,
    keyOf: ({ sequence }) => String(sequence),
    isKey: isNumber,
  }).read(asked, (before, take) =>
    store.findPublications({ code, before: before === null ? null : Number(before), take }),
  );

/** From 1, as PostgreSQL's integer can hold it. */
const isNumber = (text: string) => /^[1-9]\d{0,9}$/.test(text) && Number(text) < 2 ** 31;
