import { refuse, type Refusal } from '../../platform/refusal.ts';
import { faultOfLocale } from '../../platform/text.ts';
import type { UpdateTemplateInput } from './generated/graphql.ts';
import { changeTemplate } from './change-template.ts';
import type { TemplateRow, TemplateStore } from './store.ts';
import { faultsOfVersion, refusePublishing } from './version-faults.ts';
import { toLocale } from './version-input.ts';

/** Changes what the input names. What is published must stand the rules of publishing with it. */
export async function updateTemplate(
  store: TemplateStore,
  code: string,
  { defaultLocale, sensitive, unsubscribable }: UpdateTemplateInput,
): Promise<TemplateRow | Refusal> {
  const fault = defaultLocale == null ? null : faultOfLocale(defaultLocale);
  if (fault !== null) return refuse('BAD_USER_INPUT', `defaultLocale ${fault}`, 'defaultLocale', 'INVALID');

  return changeTemplate(store, code, async (template, locked) => {
    const settings = {
      defaultLocale: defaultLocale == null ? template.defaultLocale : toLocale(defaultLocale),
      sensitive: sensitive ?? template.sensitive,
      unsubscribable: unsubscribable ?? template.unsubscribable,
    };
    const published = template.currentVersion === null ? null : await locked.findVersion(template.currentVersion);
    const hasDefault = published?.contents.some(({ locale }) => locale === settings.defaultLocale) ?? true;
    if (!hasDefault) {
      const message = 'defaultLocale names a language that the published version does not have';
      return refuse('UNPROCESSABLE', message, 'defaultLocale', 'MISSING_CONTENT');
    }
    const refusal = published && refusePublishing('UNPROCESSABLE', faultsOfVersion(settings, published));
    return refusal ?? locked.update(settings);
  });
}
