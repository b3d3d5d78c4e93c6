import { refuse, refuseFaults, type Refusal } from '../../platform/refusal.ts';
import { changeTemplate, noSuchVersion } from './change-template.ts';
import type { LockedTemplate, PublicationRow, TemplateRow, TemplateStore } from './store.ts';
import { faultsOfVersion, refusePublishing } from './version-faults.ts';
import { faultsOfReason } from './version-input.ts';

/** Who publishes, and why. */
type Publisher = { by: string; reason: string | null };

/** Makes a version the one that sends use, if it has no errors. */
export const publishVersion = async (store: TemplateStore, code: string, number: number, publisher: Publisher) =>
  refuseReason(publisher) ??
  changeTemplate(store, code, (template, locked) =>
    publish(template, locked, { number, kind: 'PUBLISHED', ...publisher }),
  );

/**
 * Makes a version that was published before the one that sends use again.
 * @param number null: the one published before the present one
 */
export const rollBack = async (store: TemplateStore, code: string, number: number | null, publisher: Publisher) =>
  refuseReason(publisher) ??
  changeTemplate(store, code, async (template, locked) => {
    const history = await locked.findHistory();
    const target = number ?? versionBefore(history);
    if (target === null)
      return refuse('CONFLICT', 'code names a template of which no other version was published', 'code', 'NO_VERSION');
    if ((await locked.findVersion(target)) === null) return noSuchVersion;
    if (!history.some((entry) => entry.number === target)) {
      const message = 'number names a version that was never published: use publishTemplate';
      return refuse('CONFLICT', message, 'number', 'NEVER_PUBLISHED');
    }
    return publish(template, locked, { number: target, kind: 'ROLLED_BACK', ...publisher });
  });

/**
 * The version to go back to, as a stack has it: publishing puts a version on top, rolling back takes off what is above.
 * @param history oldest first
 * @returns null when there is none below the present one
 */
export function versionBefore(history: Pick<PublicationRow, 'number' | 'kind'>[]): number | null {
  let stack: number[] = [];
  for (const { number, kind } of history) {
    const place = kind === 'ROLLED_BACK' ? stack.lastIndexOf(number) : -1;
    const below = place === -1 ? stack : stack.slice(0, place);
    stack = [...below.filter((other) => other !== number), number];
  }
  return stack.at(-2) ?? null;
}

async function publish(
  template: TemplateRow,
  locked: LockedTemplate,
  publication: { number: number; kind: PublicationRow['kind'] } & Publisher,
): Promise<TemplateRow | Refusal> {
  const version = await locked.findVersion(publication.number);
  if (version === null) return noSuchVersion;
  if (template.currentVersion === version.number)
    return refuse('CONFLICT', 'number names the version that is published already', 'number', 'PUBLISHED_ALREADY');
  return refusePublishing('UNPROCESSABLE', faultsOfVersion(template, version)) ?? locked.publish(publication);
}

function refuseReason({ reason }: Publisher): Refusal | null {
  const [first, ...others] = faultsOfReason(reason);
  return first === undefined ? null : refuseFaults('BAD_USER_INPUT', [first, ...others]);
}
