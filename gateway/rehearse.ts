import { operationFromDocument, Supergraph } from '@apollo/federation-internals';
import { QueryPlanner } from '@apollo/query-planner';
import { parse, validate } from 'graphql';

/**
 * Validates and plans operations of ours on a supergraph, so that one that they don't fit is refused before a caller meets it.
 * @throws Error that names the operation and what is wrong
 */
export function rehearse(supergraphSdl: string, operations: readonly string[]): void {
  const text = [supergraphSdl, ...operations].join('\n');
  if (text === fitted) return;
  const supergraph = Supergraph.build(supergraphSdl);
  const schema = supergraph.apiSchema();
  const apiSchema = schema.toGraphQLJSSchema();
  const planner = new QueryPlanner(supergraph);
  for (const operation of operations) {
    const document = parse(operation);
    const [fault] = validate(apiSchema, document);
    if (fault !== undefined) throw new Error(`it does not fit an operation of the REST paths: ${fault.message}`);
    planner.buildQueryPlan(operationFromDocument(schema, document));
  }
  fitted = text;
}

/** What went well is not planned again: a process may hold several gateways, and it takes half a second. */
let fitted = '';
