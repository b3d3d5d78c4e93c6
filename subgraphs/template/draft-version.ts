import { isRefusal, refuse, refuseFaults, type Refusal } from '../../platform/refusal.ts';
import type { DraftTemplateVersionInput } from './generated/graphql.ts';
import { changeTemplate, noSuchVersion } from './change-template.ts';
import type { LockedTemplate, NewVersion, TemplateStore, VersionRow } from './store.ts';
import {
  faultsOfContents,
  faultsOfDeclarations,
  faultOfSize,
  faultsOfReason,
  toContent,
  toDeclared,
} from './version-input.ts';

/** Stores a new version under the next number. Its Liquid may be faulty: publishing asks about that. */
export async function draftVersion(
  store: TemplateStore,
  input: DraftTemplateVersionInput,
  createdBy: string,
): Promise<VersionRow | Refusal> {
  const { contents = [], variables, reason } = input;
  const [first, ...others] = [
    ...faultsOfContents(contents),
    ...faultsOfDeclarations(variables ?? []),
    ...faultsOfReason(reason),
  ];
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);

  return changeTemplate(store, input.code, async (_, locked) => {
    const version = await toVersion(locked, input, createdBy);
    if (isRefusal(version)) return version;
    const number = await locked.insertVersion(version);
    return (await locked.findVersion(number)) ?? noSuchVersion;
  });
}

async function toVersion(
  locked: LockedTemplate,
  { basedOn, contents = [], variables, reason }: DraftTemplateVersionInput,
  createdBy: string,
): Promise<NewVersion | Refusal> {
  const base = basedOn == null ? null : await locked.findVersion(basedOn);
  if (basedOn != null && base === null)
    return refuse('NOT_FOUND', 'basedOn: there is no version of that number', 'basedOn', 'NOT_FOUND');
  const named = contents.map(toContent);
  const kept = (base?.contents ?? []).filter(({ locale }) => !named.some((content) => content.locale === locale));
  const all = [...named, ...kept];
  if (all.length === 0)
    return refuse('BAD_USER_INPUT', 'contents or basedOn is required: a version has a language', 'contents', 'INVALID');
  const tooMuch = faultOfSize(all);
  if (tooMuch !== null) return refuse('BAD_USER_INPUT', `contents ${tooMuch}`, 'contents', 'INVALID');
  return {
    contents: all,
    declared: variables?.map(toDeclared) ?? base?.declared ?? [],
    basedOn: basedOn ?? null,
    reason: reason ?? null,
    createdBy,
  };
}
