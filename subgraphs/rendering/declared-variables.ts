import type { Fault } from '../../platform/refusal.ts';

export const VARIABLE_TYPES = ['STRING', 'NUMBER', 'BOOLEAN', 'OBJECT', 'LIST'] as const;

export type VariableType = (typeof VARIABLE_TYPES)[number];

/** What a template's author says of one variable. */
export type DeclaredVariable = { name: string; type: VariableType; required: boolean; description?: string | null };

/** What is wrong with variables that a send or a preview gives; nothing where nothing is declared. Null counts as not given. */
export const faultsOfVariables = (declared: DeclaredVariable[], variables: Record<string, unknown>): Fault[] =>
  declared.flatMap(({ name, type, required }) => {
    const value = Object.hasOwn(variables, name) ? variables[name] : null;
    const field = `variables.${name}`;
    if (value === null || value === undefined)
      return required ? [{ field, code: 'MISSING_VARIABLE', message: `${field} is required by the template` }] : [];
    return isOfType(value, type)
      ? []
      : [{ field, code: 'WRONG_TYPE', message: `${field} must be ${TYPE_NAMES[type]}, as the template declares it` }];
  });

function isOfType(value: unknown, type: VariableType): boolean {
  switch (type) {
    case 'STRING':
    case 'NUMBER':
    case 'BOOLEAN':
      return typeof value === type.toLowerCase();
    case 'LIST':
      return Array.isArray(value);
    case 'OBJECT':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
  }
}

const TYPE_NAMES: Record<VariableType, string> = {
  STRING: 'a string',
  NUMBER: 'a number',
  BOOLEAN: 'true or false',
  OBJECT: 'an object',
  LIST: 'a list',
};
