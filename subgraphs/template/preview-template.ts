import type { NotificationType } from '../../contracts/jobs.ts';
import { PUSH_TOKEN_KINDS, type EmailMessage } from '../../contracts/message.ts';
import type { PushContent } from '../../contracts/push-payload.ts';
import { badStringIn, faultOfLocale } from '../../platform/text.ts';
import { isRefusal, refuse, refuseFaults, type Refusal } from '../../platform/refusal.ts';
import { chooseContent, type LocaleSource } from '../rendering/choose-locale.ts';
import { renderContent, type RenderSource, type TemplateContent } from '../rendering/render-message.ts';
import type { PreviewTemplateInput } from './generated/graphql.ts';
import { noSuchTemplate, noSuchVersion } from './change-template.ts';
import type { TemplateStore, VersionRow } from './store.ts';
import { faultsOfVersion, refusePublishing } from './version-faults.ts';
import { invalid, isCode } from './version-input.ts';

export type Preview = {
  kind: 'preview';
  version: VersionRow;
  locale: string;
  localeSource: LocaleSource;
  email: Omit<EmailMessage, 'to'> | null;
  push: PushContent | null;
};

/** The real link is sealed for one user, and a preview is for nobody. */
const STAND_IN_URL = 'https://herald.invalid/unsubscribe/preview';

/** Renders a version as a send would, or refuses as a send would. */
export async function previewTemplate(store: TemplateStore, input: PreviewTemplateInput): Promise<Preview | Refusal> {
  const { code, number, notificationType, locale = null, userLocale = null } = input;
  const variables = input.variables ?? {};
  const bad = badStringIn(variables, 'variables');
  const [first, ...others] = [
    ...Object.entries({ locale, userLocale }).flatMap(([field, tag]) => {
      const fault = tag === null ? null : faultOfLocale(tag);
      return fault === null ? [] : [invalid(field, fault)];
    }),
    ...(bad === null ? [] : [invalid(bad, 'must be valid Unicode without NUL')]),
  ];
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);

  const template = isCode(code) ? await store.findTemplate(code) : null;
  if (template === null) return noSuchTemplate;
  const wanted = number ?? template.currentVersion;
  if (wanted === null)
    return refuse('NOT_FOUND', 'code names a template that was never published: say a number', 'code', 'NOT_PUBLISHED');
  const [version, contents] = await Promise.all([
    store.findVersion({ code, number: wanted }),
    store.findContents({ code, number: wanted }),
  ]);
  if (version === null) return noSuchVersion;

  const type = notificationType == null ? null : toType(notificationType);
  const chosen = chooseContent(contents, type, { asked: locale, users: userLocale, fallback: template.defaultLocale });
  if (chosen === null || (type !== null && chosen.content[type] === null)) {
    const message = 'number names a version that has nothing to say here, not even in the default language';
    return refuse('UNPROCESSABLE', message, 'number', 'NO_CONTENT');
  }
  const { content, source } = chosen;
  // Of the chosen language only: a draft may be looked at while others are at work on the rest.
  const broken = faultsOfVersion(template, { contents: [content], declared: [] });
  const unreadable = refusePublishing(
    'UNPROCESSABLE',
    broken.filter(({ code: fault }) => fault === 'INVALID_LIQUID'),
  );
  if (unreadable !== null) return unreadable;

  const rendered = render(type, variables, {
    content,
    declaredVariables: version.declared,
    unsubscribeUrl: template.unsubscribable ? STAND_IN_URL : null,
  });
  return isRefusal(rendered)
    ? rendered
    : { kind: 'preview', version, locale: content.locale, localeSource: source, ...rendered };
}

function render(
  type: NotificationType | null,
  variables: Record<string, unknown>,
  source: RenderSource,
): Pick<Preview, 'email' | 'push'> | Refusal {
  const preview: Pick<Preview, 'email' | 'push'> = { email: null, push: null };
  for (const channel of channelsOf(type, source.content)) {
    const rendered = renderContent({ type: channel, variables }, source, new Set(PUSH_TOKEN_KINDS));
    if (isRefusal(rendered)) return rendered;
    if (rendered.type === 'email') preview.email = rendered;
    else preview.push = rendered;
  }
  return preview;
}

const channelsOf = (type: NotificationType | null, content: TemplateContent): NotificationType[] =>
  (['email', 'push'] as const).filter((channel) => (type ?? channel) === channel && content[channel] !== null);

const toType = (type: 'EMAIL' | 'PUSH'): NotificationType => (type === 'EMAIL' ? 'email' : 'push');
