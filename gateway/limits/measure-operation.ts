import {
  getNamedType,
  getNullableType,
  isAbstractType,
  isCompositeType,
  isListType,
  Kind,
  OperationTypeNode,
  typeFromAST,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';
import type { Costs, FieldCost } from './costs.ts';
import { argumentsOf, faultOfSize, sizeOf, sizeOfInputs, weighArguments } from './measure-arguments.ts';

/** Of a list whose size nothing says. */
const USUAL_LIST_SIZE = 10;
/** Of one look at the schema: graphql-js bounds how deep it goes. */
const INTROSPECTION_COST = 2_500;
const MUTATION_COST = 10;

/** What an operation may come to, before anybody plans or does it. */
export type Measure = {
  /** Objects that it may fetch, about: the sum of weights, times the sizes of the lists they stand in. */
  cost: number;
  /** The field of the root that costs most. */
  dearest: string;
  /** Levels of fields. */
  depth: number;
  /** All of them, a fragment's as often as it is used: planning takes its time field by field. */
  fields: number;
  /** Names of the root's fields, each alias for itself. */
  rootFields: string[];
  aliases: number;
  directives: number;
  /** Whether it asks for the schema. */
  isIntrospective: boolean;
  /** How many notifications it sends. */
  sends: number;
  /** What is wrong with an argument that gives a list's size; null when nothing is. */
  sizeFault: string | null;
};

type Part = { cost: number; depth: number; fields: number };

/**
 * Measures a valid operation. Each fragment is measured once, so a document costs no more time than it is long. What a fragment or
 * the operation is called says nothing; only fields count.
 */
export function measureOperation(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Record<string, unknown>,
  costs: Costs,
): Measure {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  const measured = new Map<string, Part>();
  let isIntrospective = false;
  let sizeFault: string | null = null;

  const measureSelections = (
    { selections }: SelectionSetNode,
    parent: GraphQLCompositeType,
    sized: ReadonlyMap<string, number>,
  ): Part => {
    let cost = 0;
    let depth = 0;
    let fields = 0;
    for (const selection of selections) {
      const part = measureSelection(selection, parent, sized);
      cost += part.cost;
      depth = Math.max(depth, part.depth);
      fields += part.fields;
    }
    return { cost, depth, fields };
  };

  const measureSelection = (
    selection: SelectionSetNode['selections'][number],
    parent: GraphQLCompositeType,
    sized: ReadonlyMap<string, number>,
  ): Part => {
    switch (selection.kind) {
      case Kind.FIELD:
        return measureField(selection, parent, sized);
      case Kind.INLINE_FRAGMENT: {
        const type = selection.typeCondition ? typeFromAST(schema, selection.typeCondition) : parent;
        return measureSelections(selection.selectionSet, isCompositeType(type) ? type : parent, sized);
      }
      case Kind.FRAGMENT_SPREAD: {
        // A connection's fragment has the size that its field asked for.
        const name = `${selection.name.value} ${[...sized].join()}`;
        const known = measured.get(name);
        if (known !== undefined) return known;
        const fragment = fragments.get(selection.name.value);
        const type = fragment && typeFromAST(schema, fragment.typeCondition);
        const part =
          fragment && isCompositeType(type) ? measureSelections(fragment.selectionSet, type, sized) : NOTHING;
        measured.set(name, part);
        return part;
      }
    }
  };

  const measureField = (node: FieldNode, parent: GraphQLCompositeType, sized: ReadonlyMap<string, number>): Part => {
    const name = node.name.value;
    if (name === '__typename') return NOTHING;
    if (name.startsWith('__')) {
      isIntrospective = true;
      return { cost: INTROSPECTION_COST, depth: 1, fields: 1 };
    }
    const field = 'getFields' in parent ? parent.getFields()[name] : undefined;
    if (field === undefined) return NOTHING;
    const says = saysOf(parent, name);
    const type = getNamedType(field.type);
    const fitting = argumentsOf(field, node, variables);
    if (fitting !== null) sizeFault ??= faultOfSize(says, node, fitting);
    const given = fitting ?? {};
    const size = sizeOf(says, given);
    const isList = isListType(getNullableType(field.type));
    const times = isList ? (sized.get(name) ?? size ?? sizeOfInputs(field, given) ?? USUAL_LIST_SIZE) : 1;
    const childSizes = new Map((says.sizedFields ?? []).map((child) => [child, size ?? USUAL_LIST_SIZE]));
    const inner =
      node.selectionSet && isCompositeType(type) ? measureSelections(node.selectionSet, type, childSizes) : NOTHING;
    const asking = (says.weight ?? 0) + weighArguments(`${parent.name}.${name}`, field.args, given, costs.inputs);
    const cost = Math.max(0, asking) + times * (weightOf(type) + inner.cost);
    return { cost, depth: 1 + inner.depth, fields: 1 + inner.fields };
  };

  /** Of an interface's field the most that any of its types says. */
  const saysOf = (parent: GraphQLCompositeType, name: string): FieldCost => {
    if (!isAbstractType(parent)) return costs.fields.get(`${parent.name}.${name}`) ?? {};
    const all = schema.getPossibleTypes(parent).flatMap((type) => costs.fields.get(`${type.name}.${name}`) ?? []);
    return all.reduce<FieldCost>((most, one) => ({ ...one, ...most, weight: greater(most.weight, one.weight) }), {});
  };

  /** One for an object, nothing for a value, unless the schema says otherwise. */
  const weightOf = (type: GraphQLNamedType): number =>
    isAbstractType(type)
      ? Math.max(0, ...schema.getPossibleTypes(type).map(weightOf))
      : (costs.types.get(type.name) ?? (isCompositeType(type) ? 1 : 0));

  const root = schema.getRootType(operation.operation);
  if (root == null) return { ...NO_MEASURE };
  const rootFields = collectRootFields(operation.selectionSet, fragments);
  const parts = rootFields.map((node) => ({ name: node.name.value, ...measureField(node, root, NO_SIZES) }));
  const isMutation = operation.operation === OperationTypeNode.MUTATION;
  const dearest = parts.toSorted((a, b) => b.cost - a.cost)[0];
  return {
    cost: parts.reduce((sum, { cost }) => sum + cost + (isMutation ? MUTATION_COST : 0), 0),
    dearest: dearest?.name ?? '',
    depth: Math.max(0, ...parts.map(({ depth }) => depth)),
    fields: parts.reduce((sum, { fields }) => sum + fields, 0),
    rootFields: rootFields.map(({ name }) => name.value),
    ...countMarks(document),
    isIntrospective,
    sizeFault,
    sends: isMutation ? countSends(root, rootFields, variables) : 0,
  };
}

const NOTHING: Part = { cost: 0, depth: 0, fields: 0 };
const NO_SIZES: ReadonlyMap<string, number> = new Map();
const NO_MEASURE: Measure = {
  cost: 0,
  dearest: '',
  depth: 0,
  fields: 0,
  rootFields: [],
  aliases: 0,
  directives: 0,
  isIntrospective: false,
  sends: 0,
  sizeFault: null,
};

const greater = (a = 0, b = 0) => Math.max(a, b);

/** Through fragments; a document that spreads one over and over is cut where it is over every limit. */
function collectRootFields(
  selectionSet: SelectionSetNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
  found: FieldNode[] = [],
): FieldNode[] {
  for (const selection of selectionSet.selections) {
    if (found.length > MAX_COLLECTED) return found;
    if (selection.kind === Kind.FIELD) found.push(selection);
    else {
      const inner = selection.kind === Kind.INLINE_FRAGMENT ? selection : fragments.get(selection.name.value);
      if (inner !== undefined) collectRootFields(inner.selectionSet, fragments, found);
    }
  }
  return found;
}

const MAX_COLLECTED = 1_000;

function countSends(root: GraphQLObjectType, rootFields: FieldNode[], variables: Record<string, unknown>): number {
  const fields = root.getFields();
  return rootFields.reduce((sum, node) => {
    const field = fields[node.name.value];
    return sum + (field === undefined ? 0 : (sizeOfInputs(field, argumentsOf(field, node, variables) ?? {}) ?? 1));
  }, 0);
}

/** As they are written: what is spread twice is counted by its cost. */
function countMarks(document: DocumentNode): { aliases: number; directives: number } {
  let aliases = 0;
  let directives = 0;
  const walk = ({ selections }: SelectionSetNode) => {
    for (const selection of selections) {
      directives += selection.directives?.length ?? 0;
      if (selection.kind === Kind.FIELD && selection.alias) aliases += 1;
      if ('selectionSet' in selection && selection.selectionSet) walk(selection.selectionSet);
    }
  };
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.OPERATION_DEFINITION && definition.kind !== Kind.FRAGMENT_DEFINITION) continue;
    directives += definition.directives?.length ?? 0;
    walk(definition.selectionSet);
  }
  return { aliases, directives };
}
