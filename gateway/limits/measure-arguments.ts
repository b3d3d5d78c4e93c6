import {
  getArgumentValues,
  getNamedType,
  isInputObjectType,
  type FieldNode,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
} from 'graphql';
import type { Costs, FieldCost } from './costs.ts';

export type Given = Record<string, unknown>;

/** Null for a field whose arguments don't fit after all (null for one that has a default): it is refused when it is executed. */
export function argumentsOf(
  field: GraphQLField<unknown, unknown>,
  node: FieldNode,
  variables: Record<string, unknown>,
): Given | null {
  try {
    return getArgumentValues(field, node, variables);
  } catch {
    return null;
  }
}

/** What the arguments weigh that are given or have a default, with all that is within them. @param field `Type.field` */
export const weighArguments = (
  field: string,
  args: readonly GraphQLArgument[],
  given: Given,
  weights: Costs['inputs'],
): number => (weights.size === 0 ? 0 : weigh(field, args, given, weights));

const weigh = (
  owner: string,
  fields: readonly (GraphQLArgument | GraphQLInputField)[],
  values: unknown,
  weights: Costs['inputs'],
): number =>
  fields.reduce((sum, { name, type }) => {
    const value = at(values, name);
    if (value == null) return sum;
    const named = getNamedType(type);
    const inner = isInputObjectType(named) ? Object.values(named.getFields()) : [];
    const items = inner.length === 0 ? [] : [value].flat(Infinity);
    const within = items.reduce<number>((total, item) => total + weigh(named.name, inner, item, weights), 0);
    return sum + (weights.get(`${owner}.${name}`) ?? 0) + within;
  }, 0);

/** Undefined when no argument says it, and nothing is assumed. */
export function sizeOf({ slicingArguments = [], assumedSize }: FieldCost, given: Given): number | undefined {
  const asked = slicingArguments.map((path) => at(given, path)).filter((value) => typeof value === 'number');
  return asked.length > 0 ? Math.max(0, ...asked) : assumedSize;
}

/** Says what is wrong where exactly one argument must give a list's size; null when nothing is. A default counts when nothing is given. */
export function faultOfSize(
  { slicingArguments = [], requireOneSlicingArgument = true }: FieldCost,
  node: FieldNode,
  given: Given,
): string | null {
  if (slicingArguments.length === 0 || !requireOneSlicingArgument) return null;
  const present = slicingArguments.filter((path) => at(given, path) != null);
  const written = present.filter((path) => node.arguments?.some(({ name }) => name.value === path.split('.', 1)[0]));
  return (written.length > 0 ? written : present).length === 1
    ? null
    : `${node.name.value} must have exactly one of ${slicingArguments.join(', ')}`;
}

/** A mutation of many answers for each of them. */
export function sizeOfInputs(field: GraphQLField<unknown, unknown>, given: Given): number | undefined {
  const lists = field.args.map(({ name }) => given[name]).filter((value) => Array.isArray(value));
  return lists.length > 0 ? Math.max(...lists.map((list) => list.length)) : undefined;
}

/** By a path such as `input.first`. */
const at = (value: unknown, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>(
      (inner, name) =>
        typeof inner === 'object' && inner !== null && Object.hasOwn(inner, name) ? (inner as Given)[name] : undefined,
      value,
    );
