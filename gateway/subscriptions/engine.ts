import { executeQueryPlan, type ServiceMap } from '@apollo/gateway';
import { operationFromDocument, Supergraph, type Schema } from '@apollo/federation-internals';
import { QueryPlanner, type FetchNode, type PlanNode, type QueryPlan } from '@apollo/query-planner';
import {
  execute,
  GraphQLError,
  Kind,
  NoSchemaIntrospectionCustomRule,
  OperationTypeNode,
  parse,
  print,
  specifiedRules,
  TypeInfo,
  validate,
  visit,
  visitWithTypeInfo,
  getArgumentValues,
  getVariableValues,
  type DocumentNode,
  type ExecutionResult,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import type { StatusEvent } from '../../contracts/events.ts';
import { refuse, toGraphQLError } from '../../platform/refusal.ts';
import { refuseTooDeep } from '../../platform/json-depth.ts';
import type { Logger } from '../../platform/logger.ts';
import type { GatewayContext } from '../federation/data-source.ts';
import { MAX_TOKENS, refuseTooMuch } from '../limits/check-operation.ts';
import { readCosts, type Costs } from '../limits/costs.ts';
import { measureOperation } from '../limits/measure-operation.ts';
import type { Operation } from '../limits/trusted-documents.ts';
import { ROOT_FIELD, toEventInput, toEventSchema, toRootValue } from './event-schema.ts';

/**
 * The engine under every transport: @apollo/gateway plans subscriptions and refuses to execute them, so this does. A plan is made once;
 * for each event its first fetch is answered from the event, and the rest runs as any plan does. It stands on `executeQueryPlan` and on
 * the shape of plans of exactly this version: tests/subscription-engine.test.ts is the contract.
 */
export type Engine = {
  /** Takes the schema that is served from now on; subscriptions that live go on by new plans. */
  load(schemas: { apiSchema: GraphQLSchema; coreSupergraphSdl: string }): void;
  /** Checks a request by the rules for every operation. @throws GraphQLError, or several as an AggregateError */
  prepare(request: Operation): Prepared;
  /** What a client gets of an event. Never rejects. */
  execute(selection: Selection, event: StatusEvent, cursor: string, context: GatewayContext): Promise<ExecutionResult>;
};

/** A request that may be executed: whose events, and what of them. */
export type Prepared = { topic: TopicArguments; selection: Selection };

export type TopicArguments = {
  notificationId?: string | null;
  userId?: string | null;
  requestId?: string | null;
  after?: string | null;
};

/** What is selected of each event. Two with the same key get the same answer, if the same viewer asks. */
export type Selection = { key: string; query: string; variables: Record<string, unknown> };

type Runtime = {
  apiSchema: GraphQLSchema;
  /** The same, and the supergraph's, as federation and graphql-js hold them. */
  planned: Schema;
  supergraphSchema: GraphQLSchema;
  eventSchema: GraphQLSchema;
  planner: QueryPlanner;
  costs: Costs;
  parsed: LRUCache<string, Parsed>;
  plans: LRUCache<string, Plan | readonly GraphQLError[]>;
};

type Parsed = { document: DocumentNode; errors: readonly GraphQLError[] };

type Plan = {
  document: DocumentNode;
  operation: OperationDefinitionNode;
  fragments: Record<string, FragmentDefinitionNode>;
  /** Null when the event answers all of it. */
  fetches: Fetches | null;
};

type Fetches = {
  plan: QueryPlan;
  primary: FetchNode;
  /** The first fetch: its text for the event schema, or null when more is selected than that knows. */
  local: DocumentNode | null;
  /** And for the notification service. */
  remote: string;
};

export function createEngine({
  services,
  maxCost,
  introspection,
  log,
}: {
  services: ServiceMap;
  maxCost: number;
  introspection: boolean;
  log: Logger;
}): Engine {
  let runtime: Runtime | null = null;
  const rules = introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule];

  const current = (): Runtime => {
    if (runtime === null) throw new Error('no schema is loaded');
    return runtime;
  };

  const parseAndValidate = ({ apiSchema, parsed }: Runtime, query: string): Parsed => {
    const known = parsed.get(query);
    if (known !== undefined) return known;
    const document = parse(query, { maxTokens: MAX_TOKENS });
    const made = { document, errors: validate(apiSchema, document, rules) };
    parsed.set(query, made);
    return made;
  };

  const planOf = (now: Runtime, query: string): Plan | readonly GraphQLError[] => {
    const known = now.plans.get(query);
    if (known !== undefined) return known;
    const made = makePlan(now, query);
    now.plans.set(query, made);
    return made;
  };

  return {
    load({ apiSchema, coreSupergraphSdl }) {
      const supergraph = Supergraph.build(coreSupergraphSdl);
      runtime = {
        apiSchema,
        planned: supergraph.apiSchema(),
        supergraphSchema: supergraph.schema.toGraphQLJSSchema(),
        eventSchema: toEventSchema(apiSchema),
        planner: new QueryPlanner(supergraph),
        costs: readCosts(coreSupergraphSdl),
        parsed: new LRUCache({ max: MAX_KEPT }),
        plans: new LRUCache({ max: MAX_KEPT }),
      };
    },

    prepare({ query, operationName, variables }) {
      const now = current();
      if (query === undefined)
        throw toGraphQLError(refuse('BAD_USER_INPUT', 'the request needs a query', 'query', 'REQUIRED'));
      const tooDeep = refuseTooDeep(variables ?? {});
      if (tooDeep !== null) throw toGraphQLError(tooDeep);
      const { document, errors } = parseAndValidate(now, query);
      throwAll(errors);
      const operation = findOperation(document, operationName);
      const { coerced, errors: faults } = getVariableValues(
        now.apiSchema,
        operation.variableDefinitions ?? [],
        variables ?? {},
      );
      throwAll((faults ?? []).map(({ message }) => toGraphQLError(refuse('BAD_USER_INPUT', message))));
      const values = coerced ?? {};
      const tooMuch = refuseTooMuch(measureOperation(now.apiSchema, document, operation, values, now.costs), maxCost);
      if (tooMuch !== null) throw toGraphQLError(tooMuch);

      const { selected, root } = select(now.apiSchema, document, operation);
      const used = new Set(selected.definitions.flatMap(variablesOf));
      const kept = Object.fromEntries(Object.entries(values).filter(([name]) => used.has(name)));
      const text = print(selected);
      const plan = planOf(now, text);
      if (Array.isArray(plan)) throwAll(plan as GraphQLError[]);
      const field = now.apiSchema.getSubscriptionType()?.getFields()[ROOT_FIELD];
      if (field === undefined) throw new Error(`the schema has no ${ROOT_FIELD}`);
      return {
        topic: getArgumentValues(field, root, values),
        selection: { key: JSON.stringify([text, kept]), query: text, variables: kept },
      };
    },

    async execute({ query, variables }, event, cursor, context) {
      try {
        const now = current();
        const plan = planOf(now, query);
        if (!('operation' in plan)) return { errors: plan };
        const rootValue = toRootValue(event, cursor);
        if (plan.fetches === null)
          return await execute({
            schema: now.eventSchema,
            document: plan.document,
            rootValue,
            variableValues: variables,
          });
        return await executeFetches(
          now,
          plan,
          plan.fetches,
          rootValue,
          toEventInput(event, cursor),
          variables,
          query,
          context,
        );
      } catch (error) {
        // Whatever goes wrong is an error of this one event: a raw one would break the transport.
        return { errors: [toError(error)] };
      }
    },
  };

  async function executeFetches(
    { eventSchema, apiSchema, planned, supergraphSchema }: Runtime,
    { operation, fragments }: Plan,
    { plan, primary, local, remote }: Fetches,
    rootValue: object,
    event: object,
    variables: Record<string, unknown>,
    query: string,
    context: GatewayContext,
  ): Promise<ExecutionResult> {
    const service = services[primary.serviceName];
    if (service === undefined) throw new Error(`there is no ${primary.serviceName} service`);
    const answering: ServiceMap = {
      ...services,
      [primary.serviceName]: {
        process: async (options) => {
          if (options.request.query !== primary.operation) return service.process(options);
          const given = options.request.variables ?? {};
          if (local !== null)
            return execute({ schema: eventSchema, document: local, rootValue, variableValues: given });
          return service.process({
            ...options,
            request: { ...options.request, query: remote, variables: { ...given, [EVENT_VARIABLE]: event } },
          });
        },
      },
    };
    const requestContext = { request: { query, variables }, context, metrics: {}, logger: log, schema: apiSchema };
    const { data, errors, extensions } = await executeQueryPlan(
      plan,
      answering,
      requestContext as never,
      { schema: apiSchema, operation, fragments },
      supergraphSchema,
      planned,
    );
    if (extensions?.['valueCompletion'] !== undefined)
      log.warn(
        { requestId: context.requestId, nulls: extensions['valueCompletion'] },
        'a subgraph gave nulls that it must not',
      );
    return { data: data ?? null, ...(errors && errors.length > 0 && { errors: errors.map(toError) }) };
  }
}

function findOperation(document: DocumentNode, name: string | null | undefined): OperationDefinitionNode {
  const operations = document.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  const [operation] = name == null ? operations : operations.filter((one) => one.name?.value === name);
  if (operation === undefined || (name == null && operations.length > 1)) {
    const message =
      name == null ? 'say by operationName which of the operations is meant' : `there is no operation ${name}`;
    throw toGraphQLError(refuse('BAD_USER_INPUT', message, 'operationName', 'INVALID'));
  }
  if (operation.operation !== OperationTypeNode.SUBSCRIPTION)
    throw toGraphQLError(
      refuse('BAD_USER_INPUT', `only subscriptions are taken here: send a ${operation.operation} by POST /graphql`),
    );
  return operation;
}

/**
 * The same operation without the root field's arguments, which say whose events and not what of them; so whoever selects the same
 * shares a plan, and an execution.
 */
function select(apiSchema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) {
  const spread = new Set<string>();
  const byName = new Map(
    document.definitions.flatMap((definition) =>
      definition.kind === Kind.FRAGMENT_DEFINITION ? [[definition.name.value, definition] as const] : [],
    ),
  );
  const collect = (node: OperationDefinitionNode | FragmentDefinitionNode) =>
    visit(node, {
      FragmentSpread({ name: { value } }) {
        const fragment = byName.get(value);
        if (fragment === undefined || spread.has(value)) return;
        spread.add(value);
        collect(fragment);
      },
    });
  collect(operation);

  let root: FieldNode | undefined;
  const types = new TypeInfo(apiSchema);
  const definitions = [operation, ...[...spread].flatMap((name) => byName.get(name) ?? [])];
  const stripped = visit(
    { kind: Kind.DOCUMENT, definitions } as DocumentNode,
    visitWithTypeInfo(types, {
      Field(node) {
        if (types.getParentType() !== apiSchema.getSubscriptionType()) return undefined;
        root = node;
        return { ...node, arguments: [] };
      },
    }),
  );
  if (root?.name.value !== ROOT_FIELD)
    throw toGraphQLError(refuse('BAD_USER_INPUT', `only ${ROOT_FIELD} can be subscribed to`));
  if ((root.directives ?? []).length > 0)
    throw toGraphQLError(
      refuse('BAD_USER_INPUT', `${ROOT_FIELD} itself takes no @skip and no @include: don't subscribe`),
    );
  const used = new Set(stripped.definitions.flatMap(variablesOf));
  const selected: DocumentNode = {
    ...stripped,
    definitions: stripped.definitions.map((definition) =>
      definition.kind === Kind.OPERATION_DEFINITION
        ? {
            ...definition,
            variableDefinitions: (definition.variableDefinitions ?? []).filter(({ variable }) =>
              used.has(variable.name.value),
            ),
          }
        : definition,
    ),
  };
  return { selected, root };
}

/** Those that are used; their definitions don't count. */
function variablesOf(definition: DocumentNode['definitions'][number]): string[] {
  const names: string[] = [];
  visit(definition, {
    VariableDefinition: () => false,
    Variable: ({ name }) => void names.push(name.value),
  });
  return names;
}

/** Valid when it was prepared, and perhaps no longer after a new supergraph. */
function makePlan(
  { apiSchema, planned, planner, eventSchema }: Runtime,
  query: string,
): Plan | readonly GraphQLError[] {
  const document = parse(query, { noLocation: true });
  const errors = validate(apiSchema, document);
  if (errors.length > 0) return errors;
  const operation = findOperation(document, null);
  const fragments = Object.fromEntries(
    document.definitions.flatMap((definition) =>
      definition.kind === Kind.FRAGMENT_DEFINITION ? [[definition.name.value, definition]] : [],
    ),
  );
  if (isKnown(eventSchema, document)) return { document, operation, fragments, fetches: null };

  const { node } = planner.buildQueryPlan(operationFromDocument(planned, document));
  if (node?.kind !== 'Subscription') throw new Error(`a subscription was planned as ${node?.kind}`);
  const { primary, rest } = node;
  const first = parse(primary.operation, { noLocation: true });
  const nodes: PlanNode[] = rest === undefined ? [primary] : [primary, rest];
  return {
    document,
    operation,
    fragments,
    fetches: {
      plan: { kind: 'QueryPlan', node: { kind: 'Sequence', nodes } },
      primary,
      local: isKnown(eventSchema, first) ? first : null,
      remote: print(toStatusEventQuery(first)),
    },
  };
}

const isKnown = (eventSchema: GraphQLSchema, document: DocumentNode) => validate(eventSchema, document).length === 0;

/** `subscription { notificationStatusChanged {…} }` as the question for one event: `query($event) { statusEvent(event: $event) {…} }`. */
const toStatusEventQuery = (document: DocumentNode): DocumentNode => ({
  ...document,
  definitions: document.definitions.map((definition) => {
    if (definition.kind !== Kind.OPERATION_DEFINITION) return definition;
    const selections = definition.selectionSet.selections.map((selection) =>
      selection.kind === Kind.FIELD && selection.name.value === ROOT_FIELD
        ? {
            ...selection,
            alias: selection.alias ?? selection.name,
            name: { kind: Kind.NAME as const, value: 'statusEvent' },
            arguments: EVENT_ARGUMENT.arguments,
          }
        : selection,
    );
    return {
      ...definition,
      operation: OperationTypeNode.QUERY,
      variableDefinitions: [...(definition.variableDefinitions ?? []), EVENT_ARGUMENT.definition],
      selectionSet: { ...definition.selectionSet, selections },
    };
  }),
});

const EVENT_VARIABLE = 'heraldEvent';

const EVENT_ARGUMENT = (() => {
  const [definition] = parse(
    `query ($${EVENT_VARIABLE}: StatusEventInput!) { statusEvent(event: $${EVENT_VARIABLE}) }`,
    {
      noLocation: true,
    },
  ).definitions;
  if (definition?.kind !== Kind.OPERATION_DEFINITION) throw new Error('no operation');
  const [field] = definition.selectionSet.selections;
  const [variable] = definition.variableDefinitions ?? [];
  if (field?.kind !== Kind.FIELD || variable === undefined) throw new Error('no field');
  return { definition: variable, arguments: field.arguments ?? [] };
})();

function throwAll(errors: readonly GraphQLError[]): void {
  const [first, ...others] = errors;
  if (first === undefined) return;
  throw others.length === 0 ? first : new AggregateError(errors);
}

const toError = (error: unknown): GraphQLError =>
  error instanceof GraphQLError
    ? error
    : new GraphQLError(error instanceof Error ? error.message : String(error), {
        ...(error instanceof Error && { originalError: error }),
      });

/** Documents, and plans. */
const MAX_KEPT = 500;
