import { faultOfLiquid } from '../../platform/liquid.ts';
import { refuse, refuseFaults, type Fault, type Refusal } from '../../platform/refusal.ts';
import { badStringIn, faultOfLocale, faultOfText } from '../../platform/text.ts';
import type { Prisma } from '../../prisma/template/generated/client.ts';
import type { CreateTemplateInput } from './generated/graphql.ts';
import type { TemplateRow, TemplateStore } from './store.ts';

/** Creates a template and publishes its version 1, or refuses with every faulty field named. */
export async function createTemplate(
  store: TemplateStore,
  input: CreateTemplateInput,
  createdBy: string,
): Promise<({ kind: 'template' } & TemplateRow) | Refusal> {
  const [first, ...others] = faultsOf(input);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);

  const { code, locale, email, push } = input;
  const template = await store.insertTemplate({
    code,
    locale: locale ?? 'en',
    email: email ? { subject: email.subject, html: email.html, text: email.text ?? null } : null,
    push: push
      ? {
          title: push.title,
          body: push.body,
          image: push.image ?? null,
          link: push.link ?? null,
          data: (push.data as Prisma.InputJsonObject | undefined) ?? null,
          ttlSeconds: push.ttlSeconds ?? null,
          collapseKey: push.collapseKey ?? null,
        }
      : null,
    sensitive: input.sensitive ?? false,
    unsubscribable: input.unsubscribable ?? false,
    createdBy,
  });
  return template === null
    ? refuse('CONFLICT', 'code belongs to another template already', 'code', 'TAKEN')
    : { kind: 'template', ...template };
}

/** Lower-case segments; the last one can't be a word that a path ends in. */
const CODE = /^(?!.*(?:^|\/)(?:versions|publish|rollback|preview)$)[a-z0-9][a-z0-9_-]*(?:\/[a-z0-9][a-z0-9_-]*)*$/;
const MAX_TEXT_BYTES = 256 * 1024;
/** Four weeks: the longest that any push service keeps a message (FCM). */
const MAX_TTL_SECONDS = 2_419_200;

function faultsOf({ code, locale, email, push }: CreateTemplateInput): Fault[] {
  const faults: [field: string, fault: string | null][] = [
    [
      'code',
      CODE.test(code) && code.length <= 200
        ? null
        : 'must be a path of lower-case letters, digits, - and _ such as billing/invoice-due, and not end in versions, publish, rollback or preview',
    ],
    ['locale', typeof locale === 'string' ? faultOfLocale(locale) : null],
  ];
  if (push?.ttlSeconds != null && (push.ttlSeconds < 0 || push.ttlSeconds > MAX_TTL_SECONDS))
    faults.push(['push.ttlSeconds', `must be 0 to ${MAX_TTL_SECONDS}`]);
  if (!email && !push) faults.push(['email', 'or push is required: a template says something on at least one channel']);
  for (const [channel, content] of Object.entries({ email, push })) {
    for (const [part, text] of Object.entries(content ?? {})) {
      const field = `${channel}.${part}`;
      if (typeof text === 'string')
        faults.push([field, faultOfText(text, { max: MAX_TEXT_BYTES }) ?? faultOfLiquid(text)]);
      else if (text !== null && badStringIn(text, field) !== null)
        faults.push([field, 'must be valid Unicode without NUL']);
    }
  }
  return faults.flatMap(([field, fault]) =>
    fault === null ? [] : [{ field, code: 'INVALID', message: `${field} ${fault}` }],
  );
}
