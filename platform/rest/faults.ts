import { z } from 'zod';
import { refuseFaults, type Fault, type Refusal } from '../refusal.ts';

/** What a schema has against an input, by field, in the caller's spelling. */
export const toFaults = (error: z.ZodError, input: unknown): Fault[] =>
  error.issues.flatMap((issue) => toFaultsOf(issue, input));

/** A schema's items of a list that fail alone: in the place of a faulty one stands the refusal of it. */
export const alone = (schema: z.ZodType) =>
  z.unknown().transform((item): unknown => {
    const parsed = schema.safeParse(item);
    if (parsed.success) return parsed.data;
    const [first, ...others] = toFaults(parsed.error, item);
    if (first === undefined) throw new Error('a schema refused an item and did not say why');
    return refuseFaults('BAD_USER_INPUT', [first, ...others]) satisfies Refusal;
  });

function toFaultsOf(issue: z.core.$ZodIssue, input: unknown): Fault[] {
  const path = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const field = path === '' ? key : `${path}.${key}`;
      return { field, code: 'UNKNOWN_FIELD', message: `${field} is not a field of this request` };
    });
  }
  if (path === '')
    return [
      {
        field: '',
        code: 'INVALID',
        message: issue.code === 'invalid_type' ? `the body must be a JSON ${issue.expected}` : issue.message,
      },
    ];
  const given = issue.path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key],
    input,
  );
  if (given === undefined) return [{ field: path, code: 'REQUIRED', message: `${path} is required` }];
  return [{ field: path, code: 'INVALID', message: `${path}: ${issue.message}` }];
}
