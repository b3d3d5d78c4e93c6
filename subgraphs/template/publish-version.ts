import { refuse, refuseFaults, type Refusal } from '../../platform/refusal.ts';
import type { LockedTemplate, PublicationRow, TemplateRow, TemplateStore } from './store.ts';
import { faultsOfVersion, refusePublishing } from './version-faults.ts';
import { faultsOfReason } from './version-input.ts';

/** Who publishes, and why. */
type Publisher = { by: string; reason: string | null };

type Published = ({ kind: 'template' } & TemplateRow) | Refusal;

export const noSuchTemplate = refuse('NOT_FOUND', 'code: there is no such template', 'code', 'NOT_FOUND');
export const noSuchVersion = refuse('NOT_FOUND', 'number: there is no version of that number', 'number', 'NOT_FOUND');

/** Makes a version the one that sends use, if it has no errors. */
export const publishVersion = (store: TemplateStore, code: string, number: number, publisher: Publisher) =>
  withReason(publisher, () =>
    store.withTemplate(code, (template, locked) =>
      publish(template, locked, { number, kind: 'PUBLISHED', ...publisher }),
    ),
  );

/**
 * Makes a version that was published before the one that sends use again.
 * @param number null: the one published before the present one
 */
export const rollBack = (store: TemplateStore, code: string, number: number | null, publisher: Publisher) =>
  withReason(publisher, () =>
    store.withTemplate(code, async (template, locked) => {
      const history = await locked.findHistory();
      const target = number ?? versionBefore(history);
      if (target === null)
        return refuse(
          'CONFLICT',
          'code names a template of which no other version was published',
          'code',
          'NO_VERSION',
        );
      if ((await locked.findVersion(target)) === null) return noSuchVersion;
      if (!history.some((entry) => entry.number === target)) {
        const message = 'number names a version that was never published: use publishTemplate';
        return refuse('CONFLICT', message, 'number', 'NEVER_PUBLISHED');
      }
      return publish(template, locked, { number: target, kind: 'ROLLED_BACK', ...publisher });
    }),
  );

/**
 * The version to go back to, as a stack has it: publishing puts a version on top, rolling back takes off what is above.
 * @param history oldest first
 * @returns null when there is none below the present one
 */
export function versionBefore(history: Pick<PublicationRow, 'number' | 'kind'>[]): number | null {
  let stack: number[] = [];
  for (const { number, kind } of history) {
    const below = kind === 'ROLLED_BACK' ? stack.slice(0, Math.max(0, stack.lastIndexOf(number))) : stack;
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

async function withReason({ reason }: Publisher, run: () => Promise<TemplateRow | Refusal | null>): Promise<Published> {
  const [first, ...others] = faultsOfReason(reason);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);
  const published = await run();
  if (published === null) return noSuchTemplate;
  return 'kind' in published ? published : { kind: 'template', ...published };
}
