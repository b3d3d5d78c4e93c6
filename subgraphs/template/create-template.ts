import { refuse, refuseFaults, type Fault, type Refusal } from '../../platform/refusal.ts';
import { faultOfLocale } from '../../platform/text.ts';
import type { CreateTemplateInput } from './generated/graphql.ts';
import type { NewTemplate, TemplateRow, TemplateStore } from './store.ts';
import { faultsOfVersion, refusePublishing, type VersionFault } from './version-faults.ts';
import {
  faultsOfContent,
  faultsOfContents,
  faultsOfDeclarations,
  faultsOfReason,
  invalid,
  isCode,
  toContent,
  toDeclared,
  toLocale,
} from './version-input.ts';

/** Creates a template and publishes its version 1, or refuses with every faulty field named. */
export async function createTemplate(
  store: TemplateStore,
  input: CreateTemplateInput,
  createdBy: string,
): Promise<({ kind: 'template' } & TemplateRow) | Refusal> {
  const [first, ...others] = faultsOf(input);
  if (first !== undefined) return refuseFaults('BAD_USER_INPUT', [first, ...others]);

  const template = toTemplate(input, createdBy);
  const unfit = faultsOfVersion(template, template.version).map(inSpellingOf(template.defaultLocale));
  const refusal = refusePublishing('BAD_USER_INPUT', unfit);
  if (refusal !== null) return refusal;

  const row = await store.insertTemplate(template);
  return row === null
    ? refuse('CONFLICT', 'code belongs to another template already', 'code', 'TAKEN')
    : { kind: 'template', ...row };
}

function faultsOf(input: CreateTemplateInput): Fault[] {
  const { code, email, push, contents = [], variables = [], reason } = input;
  const locale = input.locale ?? 'en';
  const faults = faultOfLocale(locale);
  if (faults !== null) return [invalid('locale', faults)];
  return [
    ...(isCode(code)
      ? []
      : [
          invalid(
            'code',
            'must be a path of lower-case letters, digits, - and _ such as billing/invoice-due, and not end in versions, publish, rollback or preview',
          ),
        ]),
    ...faultsOfContent({ locale, email, push }, ''),
    ...faultsOfContents(contents),
    ...contents.flatMap((content, index) =>
      faultOfLocale(content.locale) === null && toLocale(content.locale) === toLocale(locale)
        ? [invalid(`contents.${index}.locale`, 'must be another language than that of email and push')]
        : [],
    ),
    ...faultsOfDeclarations(variables),
    ...faultsOfReason(reason),
  ];
}

function toTemplate(input: CreateTemplateInput, createdBy: string): NewTemplate {
  const { code, locale, email, push, contents = [], variables = [] } = input;
  const main = toContent({ locale: locale ?? 'en', email, push });
  return {
    code,
    defaultLocale: main.locale,
    sensitive: input.sensitive ?? false,
    unsubscribable: input.unsubscribable ?? false,
    version: {
      contents: [main, ...contents.map(toContent)],
      declared: variables.map(toDeclared),
      basedOn: null,
      reason: input.reason ?? null,
      createdBy,
    },
  };
}

/** The default language stands at the top of this input, not among `contents`. */
const inSpellingOf =
  (defaultLocale: string) =>
  (fault: VersionFault): VersionFault => {
    const prefix = `contents.${defaultLocale}.`;
    if (!fault.field.startsWith(prefix)) return fault;
    return { ...fault, field: fault.field.slice(prefix.length), message: fault.message.slice(prefix.length) };
  };
