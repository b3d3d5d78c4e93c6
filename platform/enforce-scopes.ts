import { defaultFieldResolver, isObjectType, Kind, type DirectiveNode, type GraphQLSchema } from 'graphql';
import { requireScope } from './require-scope.ts';
import type { SignedContext } from './trust.ts';

/** What @scope of a definition requires; empty without one. */
export const scopesOf = (directives: readonly DirectiveNode[] | undefined): string[] =>
  (directives ?? [])
    .filter(({ name }) => name.value === 'scope')
    .flatMap((directive) => directive.arguments ?? [])
    .flatMap(({ value }) => (value.kind === Kind.LIST ? value.values : [value]))
    .flatMap((value) => (value.kind === Kind.STRING ? [value.value] : []));

/**
 * Makes a subgraph's schema keep its own @scope directives: on a field before its resolver, on a type before it is found by its key.
 * The gateway is not relied on for it.
 */
export function enforceScopes(schema: GraphQLSchema): GraphQLSchema {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue;
    const ofType = scopesOf(directivesOf(type));
    const entity = (type.extensions as EntityExtensions).apollo?.subgraph;
    if (entity?.resolveReference !== undefined && ofType.length > 0)
      entity.resolveReference = guarded(ofType, entity.resolveReference, 1);
    for (const field of Object.values(type.getFields())) {
      const required = scopesOf(field.astNode?.directives);
      if (required.length > 0) field.resolve = guarded(required, field.resolve ?? defaultFieldResolver, 2);
    }
  }
  return schema;
}

/** @param at which argument the context is */
const guarded =
  <Args extends unknown[], Result>(required: string[], resolve: (...args: Args) => Result, at: number) =>
  (...args: Args): Result => {
    const { viewer } = args[at] as SignedContext;
    for (const scope of required) requireScope(viewer, scope);
    return resolve(...args);
  };

const directivesOf = (type: { astNode?: DirectedNode | null; extensionASTNodes: readonly DirectedNode[] }) =>
  [type.astNode, ...type.extensionASTNodes].flatMap((node) => node?.directives ?? []);

type DirectedNode = { directives?: readonly DirectiveNode[] | undefined };

/** Where @apollo/subgraph keeps how an entity is found. */
type EntityExtensions = { apollo?: { subgraph?: { resolveReference?: (...args: unknown[]) => unknown } } };
