import { faultOfLiquid, variablesOfLiquid, type LiquidVariable } from '../../platform/liquid.ts';
import { refuseFaults, type Fault, type RefusalCode, type Refusal } from '../../platform/refusal.ts';
import type { DeclaredVariable } from '../rendering/declared-variables.ts';
import type { TemplateContent } from '../rendering/render-message.ts';
import type { TemplateSettings } from './store.ts';

export type VersionFault = {
  severity: 'ERROR' | 'WARNING';
  field: string;
  code: string;
  message: string;
  line: number | null;
  column: number | null;
};

export type CheckedVersion = { contents: TemplateContent[]; declared: DeclaredVariable[] };

/** More than these nobody reads. */
const MAX_FAULTS = 100;

/** The rules of publishing: errors refuse it, warnings don't. */
export function faultsOfVersion(settings: TemplateSettings, { contents, declared }: CheckedVersion): VersionFault[] {
  const texts = contents.flatMap(textsOf).map((text) => ({ ...text, fault: faultOfLiquid(text.text) }));
  const broken = texts.flatMap(({ field, fault }) =>
    fault === null
      ? []
      : [{ ...error(field, 'INVALID_LIQUID', fault.message), line: fault.line, column: fault.column }],
  );
  const uses = texts.flatMap(({ fault, ...text }) => (fault === null ? usesOf(text, settings) : []));
  return [
    ...(contents.some(({ locale }) => locale === settings.defaultLocale)
      ? []
      : [
          error(
            `contents.${settings.defaultLocale}`,
            'MISSING_CONTENT',
            "is missing: it is the template's default language",
          ),
        ]),
    ...broken,
    ...(declared.length === 0 ? [] : faultsOfUses(uses, declared)),
    // A text that can't be read may use it.
    ...(broken.length > 0 ? [] : unusedOf(uses, declared)),
    ...missingChannelsOf(contents),
  ].slice(0, MAX_FAULTS);
}

/** Null when the version may be published. */
export function refusePublishing(code: RefusalCode, faults: VersionFault[]): Refusal | null {
  const [first, ...others] = faults.filter(({ severity }) => severity === 'ERROR').map(toFault);
  return first === undefined ? null : refuseFaults(code, [first, ...others]);
}

const toFault = ({ field, code, message, line, column }: VersionFault): Fault => ({
  field,
  code,
  message,
  ...(line !== null && { line }),
  ...(column !== null && { column }),
});

export type LiquidText = { locale: string; part: string; field: string; text: string };

/** Every text of a language that is Liquid. */
export function textsOf({ locale, email, push }: TemplateContent): LiquidText[] {
  const parts = {
    ...(email && { 'email.subject': email.subject, 'email.html': email.html, 'email.text': email.text }),
    ...(push && {
      'push.title': push.title,
      'push.body': push.body,
      'push.image': push.image,
      'push.link': push.link,
      'push.collapseKey': push.collapseKey,
    }),
  };
  return Object.entries(parts).flatMap(([part, text]) =>
    text === null ? [] : [{ locale, part, field: `contents.${locale}.${part}`, text }],
  );
}

export type VariableUse = LiquidVariable & Omit<LiquidText, 'text'> & { name: string };

/** What a text takes from the variables of a send. The text must be valid Liquid. */
export function usesOf({ text, ...place }: LiquidText, { unsubscribable }: { unsubscribable: boolean }): VariableUse[] {
  const isGiven = (name: string) => unsubscribable && name === 'unsubscribe_url' && place.part.startsWith('email.');
  return variablesOfLiquid(text)
    .map((use) => ({ ...use, ...place, name: String(use.segments[0]) }))
    .filter(({ name }) => !isGiven(name));
}

function faultsOfUses(uses: VariableUse[], declared: DeclaredVariable[]): VersionFault[] {
  const told = new Set<string>();
  return uses.flatMap((use) => {
    const { field, name, path, line, column } = use;
    const [code, what] =
      faultOfUse(
        use,
        declared.find((one) => one.name === name),
      ) ?? [];
    if (code === undefined || told.has(`${field} ${code} ${path}`)) return [];
    told.add(`${field} ${code} ${path}`);
    return [{ ...error(field, code, `uses ${path}, ${what}, line:${line}, col:${column}`), line, column }];
  });
}

function faultOfUse(use: VariableUse, declared: DeclaredVariable | undefined): [code: string, what: string] | null {
  if (declared === undefined) return ['UNDECLARED_VARIABLE', 'which is not declared'];
  const { type } = declared;
  const step = use.segments[1];
  if (step !== undefined && !mayHave(type, step))
    return ['WRONG_USE', `but ${declared.name} is declared ${type}, which has no such part`];
  // Steps into an optional object are guarded where the whole path is.
  if (!declared.required && use.required)
    return ['OPTIONAL_NOT_GUARDED', 'which is declared optional, without `default` or `if`'];
  return null;
}

function mayHave(type: DeclaredVariable['type'], step: string | number | null): boolean {
  switch (type) {
    case 'NUMBER':
    case 'BOOLEAN':
      return false;
    case 'STRING':
      return step === 'size';
    case 'LIST':
      return typeof step !== 'string' || ['size', 'first', 'last'].includes(step);
    case 'OBJECT':
      return true;
  }
}

const unusedOf = (uses: VariableUse[], declared: DeclaredVariable[]): VersionFault[] =>
  declared
    .filter(({ name }) => !uses.some((use) => use.name === name))
    .map(({ name }) => warning(`variables.${name}`, 'UNUSED_VARIABLE', 'is declared, and no text uses it'));

const missingChannelsOf = (contents: TemplateContent[]): VersionFault[] =>
  (['email', 'push'] as const).flatMap((channel) =>
    contents.every((content) => content[channel] === null)
      ? []
      : contents
          .filter((content) => content[channel] === null)
          .map(({ locale }) =>
            warning(`contents.${locale}.${channel}`, 'MISSING_CHANNEL', 'is missing, and another language has it'),
          ),
  );

const error = (field: string, code: string, what: string) => faultOf('ERROR', field, code, what);
const warning = (field: string, code: string, what: string) => faultOf('WARNING', field, code, what);

const faultOf = (severity: VersionFault['severity'], field: string, code: string, what: string): VersionFault => ({
  severity,
  field,
  code,
  message: `${field} ${what}`,
  line: null,
  column: null,
});
