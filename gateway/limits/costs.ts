import { Kind, parse, valueFromASTUntyped, type ConstDirectiveNode } from 'graphql';

/** What @cost and @listSize say of one field (the directives of the cost specification). */
export type FieldCost = {
  weight?: number;
  /** The size of its list, when no slicing argument says it. */
  assumedSize?: number;
  /** Arguments that say it. */
  slicingArguments?: readonly string[];
  /** Its children whose lists have that size: a connection's edges. */
  sizedFields?: readonly string[];
};

/** By `Type.field`. */
export type Costs = ReadonlyMap<string, FieldCost>;

/** Reads the annotations out of a supergraph: the schema that clients see has none. */
export function readCosts(supergraphSdl: string): Costs {
  const costs = new Map<string, FieldCost>();
  for (const definition of parse(supergraphSdl, { noLocation: true }).definitions) {
    if (definition.kind !== Kind.OBJECT_TYPE_DEFINITION) continue;
    for (const { name, directives = [] } of definition.fields ?? []) {
      const cost = argumentsOf(directives.find((directive) => directive.name.value === 'cost'));
      const listSize = argumentsOf(directives.find((directive) => directive.name.value === 'listSize'));
      if (cost !== null || listSize !== null)
        costs.set(`${definition.name.value}.${name.value}`, { ...listSize, ...cost });
    }
  }
  return costs;
}

const argumentsOf = (directive: ConstDirectiveNode | undefined): FieldCost | null =>
  directive === undefined
    ? null
    : Object.fromEntries(
        (directive.arguments ?? []).map(({ name, value }) => [name.value, valueFromASTUntyped(value)]),
      );
