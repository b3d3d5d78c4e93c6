import { isRefusal, refuse, type Refusal } from '../../platform/refusal.ts';
import type { LockedTemplate, TemplateRow, TemplateStore, VersionRow } from './store.ts';
import { isCode } from './version-input.ts';

export const noSuchTemplate = refuse('NOT_FOUND', 'code: there is no such template', 'code', 'NOT_FOUND');
export const noSuchVersion = refuse('NOT_FOUND', 'number: there is no version of that number', 'number', 'NOT_FOUND');

/** Runs rules on a template that nobody else changes until they end; what they refuse leaves it as it was. */
export async function changeTemplate<Row extends TemplateRow | VersionRow>(
  store: TemplateStore,
  code: string,
  work: (template: TemplateRow, locked: LockedTemplate) => Promise<Row | Refusal>,
): Promise<({ kind: 'changed' } & Row) | Refusal> {
  const changed = isCode(code) ? await store.withTemplate(code, work) : null;
  if (changed === null) return noSuchTemplate;
  return isRefusal(changed) ? changed : { kind: 'changed', ...changed };
}
