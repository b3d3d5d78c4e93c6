import { getNamedType, isCompositeType, type GraphQLObjectType } from 'graphql';
import { fieldsOf, isInaccessible, mutationRoot, objectOf, type Field, type Way } from './supergraph.ts';

/**
 * The question that goes along a way, with its variables.
 * @param argumentsAt those of the field at this depth
 * @param options.levels how many levels of objects the last field's selection has
 * @param options.isWide asks on the way for all that is not an object, too
 * @param options.isLeftOut what is not asked for beside the way
 */
export function questionAlong(
  way: Way,
  argumentsAt: (depth: number) => Record<string, unknown>,
  { levels, isWide = false, isLeftOut = () => false }: QuestionOptions,
): { query: string; variables: Record<string, unknown> } {
  const variables: Record<string, unknown> = {};
  const declared: string[] = [];
  const textFrom = (depth: number): string => {
    const step = way[depth];
    if (step === undefined) return '';
    const { field } = step;
    const given = Object.entries(argumentsAt(depth)).map(([name, value]) => {
      const variable = `${name}${depth}`;
      variables[variable] = value;
      declared.push(`$${variable}: ${String(field.args.find((argument) => argument.name === name)?.type)}`);
      return `${name}: $${variable}`;
    });
    const called = given.length > 0 ? `${field.name}(${given.join(', ')})` : field.name;
    const type = objectOf(field);
    if (type === null) return called;
    if (depth === way.length - 1) return `${called} ${select(type, levels, isLeftOut)}`;
    return `${called} { ${isWide ? plainFieldsOf(type, isLeftOut) : ''} ${textFrom(depth + 1)} }`;
  };
  const text = textFrom(0);
  const kind = way[0]?.owner === mutationRoot ? 'mutation' : 'query';
  return { query: `${kind}${declared.length > 0 ? `(${declared.join(', ')})` : ''} { ${text} }`, variables };
}

export type QuestionOptions = { levels: number; isWide?: boolean; isLeftOut?: (field: Field) => boolean };

/** All that is not an object, so many levels of objects deep; fields with arguments are left to their own ways. */
function select(type: GraphQLObjectType, levels: number, isLeftOut: (field: Field) => boolean): string {
  const objects = fieldsOf(type).flatMap((field) => {
    const next = objectOf(field);
    if (levels <= 1 || next === null || field.args.length > 0 || isInaccessible(field) || isLeftOut(field)) return [];
    return [`${field.name} ${select(next, levels - 1, isLeftOut)}`];
  });
  return `{ ${plainFieldsOf(type, isLeftOut)} ${objects.join(' ')} }`;
}

const plainFieldsOf = (type: GraphQLObjectType, isLeftOut: (field: Field) => boolean): string =>
  fieldsOf(type)
    .filter((field) => field.args.length === 0 && !isCompositeType(getNamedType(field.type)))
    .filter((field) => !isInaccessible(field) && !isLeftOut(field))
    .map(({ name }) => name)
    .concat('__typename')
    .join(' ');
