import { faultOfLiquid } from '../../platform/liquid.ts';
import type { TemplateContent } from '../rendering/render-message.ts';
import { textsOf, usesOf, type VariableUse } from './version-faults.ts';

/** The variables that the texts of a version use, by name. */
export function variablesOfVersion(
  settings: { unsubscribable: boolean },
  contents: TemplateContent[],
): { name: string; required: boolean; uses: VariableUse[] }[] {
  const byName = new Map<string, VariableUse[]>();
  for (const text of contents.flatMap(textsOf)) {
    if (faultOfLiquid(text.text) !== null) continue;
    for (const use of usesOf(text, settings)) byName.set(use.name, [...(byName.get(use.name) ?? []), use]);
  }
  return [...byName]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, uses]) => ({ name, required: uses.some(({ required }) => required), uses }));
}
