import { Kind, parse, valueFromASTUntyped, type ConstDirectiveNode } from 'graphql';

/** What @cost and @listSize say (the directives of the GraphQL cost specification). */
export type Costs = {
  /** By `Type.field`. */
  fields: ReadonlyMap<string, FieldCost>;
  /** Weights of an object, enum value or scalar, by its type. */
  types: ReadonlyMap<string, number>;
  /** Weights of what is given: by `Type.field.argument` and `Input.field`. */
  inputs: ReadonlyMap<string, number>;
};

export type FieldCost = {
  /** Once for each time that it is asked, besides what it gives. */
  weight?: number;
  /** The size of its list, when no slicing argument says it. */
  assumedSize?: number;
  /** Arguments that say it, or paths within them: `input.first`. */
  slicingArguments?: readonly string[];
  /** Its children whose lists have that size: a connection's edges. */
  sizedFields?: readonly string[];
  /** Left out: exactly one of the slicing arguments must be given. */
  requireOneSlicingArgument?: boolean;
};

export const NO_COSTS: Costs = { fields: new Map(), types: new Map(), inputs: new Map() };

/** Reads the annotations out of a supergraph: the schema that clients see has none. */
export function readCosts(supergraphSdl: string): Costs {
  const fields = new Map<string, FieldCost>();
  const types = new Map<string, number>();
  const inputs = new Map<string, number>();
  const note = (place: Map<string, number>, name: string, directives?: readonly ConstDirectiveNode[]) => {
    const { weight } = argumentsOf(directives, 'cost') ?? {};
    if (weight !== undefined) place.set(name, weight);
  };

  for (const definition of parse(supergraphSdl, { noLocation: true }).definitions) {
    const { kind } = definition;
    if (
      kind === Kind.SCALAR_TYPE_DEFINITION ||
      kind === Kind.ENUM_TYPE_DEFINITION ||
      kind === Kind.OBJECT_TYPE_DEFINITION
    )
      note(types, definition.name.value, definition.directives);
    if (kind === Kind.INPUT_OBJECT_TYPE_DEFINITION)
      for (const { name, directives } of definition.fields ?? [])
        note(inputs, `${definition.name.value}.${name.value}`, directives);
    if (kind !== Kind.OBJECT_TYPE_DEFINITION) continue;
    for (const { name, directives, arguments: args = [] } of definition.fields ?? []) {
      const field = `${definition.name.value}.${name.value}`;
      const says = { ...argumentsOf(directives, 'listSize'), ...argumentsOf(directives, 'cost') };
      if (Object.keys(says).length > 0) fields.set(field, says);
      for (const argument of args) note(inputs, `${field}.${argument.name.value}`, argument.directives);
    }
  }
  return { fields, types, inputs };
}

function argumentsOf(directives: readonly ConstDirectiveNode[] | undefined, called: string): FieldCost | null {
  const directive = directives?.find(({ name }) => name.value === called);
  return directive === undefined
    ? null
    : Object.fromEntries(
        (directive.arguments ?? []).map(({ name, value }) => [name.value, valueFromASTUntyped(value)]),
      );
}
