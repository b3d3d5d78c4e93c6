import { readFileSync } from 'node:fs';
import {
  buildASTSchema,
  getNamedType,
  isInputObjectType,
  isObjectType,
  Kind,
  parse,
  type ASTNode,
  type DirectiveNode,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLNamedInputType,
  type GraphQLObjectType,
} from 'graphql';

/** The whole graph, with what only Herald's own processes may ask. */
export const supergraph = buildASTSchema(
  parse(readFileSync(new URL('../../gateway/federation/supergraph.graphql', import.meta.url), 'utf8')),
  { assumeValid: true, assumeValidSDL: true },
);

const rootOf = (type: GraphQLObjectType | null | undefined): GraphQLObjectType => {
  if (type == null) throw new Error('the graph has no such root');
  return type;
};
export const queryRoot = rootOf(supergraph.getQueryType());
export const mutationRoot = rootOf(supergraph.getMutationType());
export const subscriptionRoot = rootOf(supergraph.getSubscriptionType());

export type Field = GraphQLField<unknown, unknown>;

const directivesOf = (node: ASTNode | null | undefined) =>
  node != null && 'directives' in node ? (node.directives ?? []) : [];

function valueOf(directive: DirectiveNode, argument: string): string | undefined {
  const value = directive.arguments?.find(({ name }) => name.value === argument)?.value;
  return value?.kind === Kind.ENUM || value?.kind === Kind.STRING ? value.value : undefined;
}

export const isInaccessible = ({ astNode }: { astNode?: ASTNode | null | undefined }) =>
  directivesOf(astNode).some(({ name }) => name.value === 'inaccessible');

/** Whether a subgraph can be asked for a field; one that is in no graph by name is in each that has its type. */
export function isIn(subgraph: string, { astNode }: Field): boolean {
  const joins = directivesOf(astNode).filter(({ name }) => name.value === 'join__field');
  const graphs = joins.map((join) => valueOf(join, 'graph')?.toLowerCase());
  return graphs.length === 0 || graphs.includes(subgraph);
}

/** The one that has a field of a root. */
export function subgraphOf({ astNode }: Field): 'user' | 'template' | 'notification' {
  const join = directivesOf(astNode).find(({ name }) => name.value === 'join__field');
  const name = join && valueOf(join, 'graph')?.toLowerCase();
  if (name !== 'user' && name !== 'template' && name !== 'notification') throw new Error(`no subgraph is ${name}`);
  return name;
}

/** Whose keys a subgraph takes from the others: `user.User`. */
export const entityNames = Object.values(supergraph.getTypeMap())
  .filter(isObjectType)
  .flatMap(({ name, astNode }) =>
    directivesOf(astNode)
      .filter((directive) => directive.name.value === 'join__type' && valueOf(directive, 'key') !== undefined)
      .map((directive) => `${valueOf(directive, 'graph')?.toLowerCase()}.${name}`),
  );

export const fieldsOf = (type: GraphQLObjectType): Field[] => Object.values(type.getFields());

/** Null for a scalar or an enum. */
export function objectOf(field: Field): GraphQLObjectType | null {
  const type = getNamedType(field.type);
  return isObjectType(type) ? type : null;
}

/** What is not a matter of the join. */
export const objectTypes = Object.values(supergraph.getTypeMap())
  .filter(isObjectType)
  .filter(({ name }) => !name.startsWith('__'));

export const inputObjectTypes = Object.values(supergraph.getTypeMap())
  .filter(isInputObjectType)
  .filter(({ name }) => !name.startsWith('join__'));

/** Fields from a root down to one, and what each is called where it stands: `Query.user`. */
export type Way = readonly { owner: GraphQLObjectType; field: Field }[];

export const nameOf = ({ owner, field }: Way[number]) => `${owner.name}.${field.name}`;

/** The shortest way from the root to each type that can be reached by fields that are not passed over. */
export function shortestWays(root: GraphQLObjectType, isPassedOver: (step: Way[number]) => boolean): Map<string, Way> {
  const ways = new Map<string, Way>([[root.name, []]]);
  const queue = [root];
  for (let owner = queue.shift(); owner !== undefined; owner = queue.shift()) {
    for (const field of fieldsOf(owner)) {
      const next = objectOf(field);
      if (next === null || ways.has(next.name) || isPassedOver({ owner, field })) continue;
      ways.set(next.name, [...(ways.get(owner.name) ?? []), { owner, field }]);
      queue.push(next);
    }
  }
  return ways;
}

/** One place that a value can be put at: an argument, or a field somewhere in it. */
export type Place = {
  /** Query.notifications.filter.requestId */
  name: string;
  way: Way;
  argument: GraphQLArgument;
  /** The fields of inputs below the argument; lists are passed through. */
  below: readonly GraphQLInputField[];
  type: GraphQLNamedInputType;
};

/** Every place of the arguments at the end of a way. */
export function placesOf(way: Way): Place[] {
  const last = way.at(-1);
  if (last === undefined) return [];
  const placesIn = (argument: GraphQLArgument, below: readonly GraphQLInputField[]): Place[] => {
    const type = getNamedType(below.at(-1)?.type ?? argument.type);
    if (isInputObjectType(type))
      return Object.values(type.getFields()).flatMap((field) => placesIn(argument, [...below, field]));
    return [
      { name: [nameOf(last), argument.name, ...below.map(({ name }) => name)].join('.'), way, argument, below, type },
    ];
  };
  return last.field.args.flatMap((argument) => placesIn(argument, []));
}
