import { faultOfLiquid } from '../../platform/liquid.ts';
import type { TemplateContent } from '../rendering/render-message.ts';
import { textsOf, usesOf, type VariableUse } from './version-faults.ts';

/** More than these nobody reads. */
const MAX_USES = 100;

/** The variables that the texts of a version use, by name. */
export function variablesOfVersion(
  settings: { unsubscribable: boolean },
  contents: TemplateContent[],
): { name: string; required: boolean; uses: VariableUse[] }[] {
  const byName = new Map<string, VariableUse[]>();
  for (const text of contents.flatMap(textsOf)) {
    if (faultOfLiquid(text.text) !== null) continue;
    for (const use of usesOf(text, settings)) {
      const known = byName.get(use.name);
      if (known === undefined) byName.set(use.name, [use]);
      else known.push(use);
    }
  }
  return [...byName]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, uses]) => ({ name, required: uses.some(({ required }) => required), uses: uses.slice(0, MAX_USES) }));
}
