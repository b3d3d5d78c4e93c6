import { Kind, OperationTypeNode, parse } from 'graphql';

/** What anybody may do without a credential: get one. */
const OPEN_FIELDS = new Set(['logIn', 'refreshSession', '__typename']);
/** No log-in is longer than this. */
const MAX_TOKENS = 200;

/** Whether a GraphQL request asks for nothing but what is open to everybody. */
export function isOpenOperation(body: unknown): boolean {
  const query = typeof body === 'object' && body !== null && 'query' in body ? body.query : undefined;
  if (typeof query !== 'string') return false;
  try {
    const { definitions } = parse(query, { maxTokens: MAX_TOKENS });
    const operations = definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION);
    return operations.every(
      ({ operation, selectionSet }) =>
        operation === OperationTypeNode.MUTATION &&
        // A fragment here could hide a field; below, it can't.
        selectionSet.selections.every(
          (selection) => selection.kind === Kind.FIELD && OPEN_FIELDS.has(selection.name.value),
        ),
    );
  } catch {
    return false;
  }
}
