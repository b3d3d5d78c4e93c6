import { refuse, type Refusal } from '../../platform/refusal.ts';
import type { Measure } from './measure-operation.ts';

/** Of a document, before it is parsed to its end: graphql-js compares every two fields of it. GraphiQL's own has about 400. */
export const MAX_TOKENS = 2_000;

export const OPERATION_LIMITS = { depth: 16, fields: 5_000, rootFields: 20, aliases: 50, directives: 50 } as const;

/** Says what is too much, with the number and the mend; null when nothing is. */
export function refuseTooMuch(measure: Measure, maxCost: number): Refusal | null {
  const { depth, fields, rootFields, aliases, directives } = OPERATION_LIMITS;
  const tooMuch = (what: string, has: number, limit: number, mend: string) =>
    has > limit ? refuse('TOO_COMPLEX', `the operation has ${has} ${what}, more than ${limit}: ${mend}`) : null;
  if (measure.sizeFault !== null) return refuse('BAD_USER_INPUT', measure.sizeFault);
  return (
    tooMuch('levels', measure.depth, depth, 'ask for what lies deeper in an operation of its own') ??
    tooMuch('fields, with all that its fragments hold', measure.fields, fields, 'ask for less at once') ??
    tooMuch('fields at its root', measure.rootFields.length, rootFields, 'divide it') ??
    tooMuch('aliases', measure.aliases, aliases, 'divide it') ??
    tooMuch('directives', measure.directives, directives, 'divide it') ??
    (measure.cost > maxCost
      ? refuse(
          'TOO_COMPLEX',
          `the operation may cost ${measure.cost}, more than ${maxCost}, most of it for ${measure.dearest}: ask for smaller pages, or for fewer lists within lists`,
        )
      : null)
  );
}
