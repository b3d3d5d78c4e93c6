import type { ApolloServerPlugin } from '@apollo/server';
import { getArgumentValues, Kind, OperationTypeNode, type GraphQLSchema, type OperationDefinitionNode } from 'graphql';
import type { Admission } from '../platform/admission.ts';
import { toGraphQLError } from '../platform/refusal.ts';
import type { GatewayContext } from './federation/data-source.ts';

/** A request that sends many counts as many against the rate limit, whether it came as GraphQL or over REST. */
export const createSendCharge = (admission: Admission): ApolloServerPlugin<GatewayContext> => ({
  requestDidStart: async () => ({
    didResolveOperation: async ({ operation, schema, request, contextValue, response }) => {
      if (operation === undefined) return;
      const points = countSends(operation, schema, request.variables ?? {}) - 1;
      const refused = await admission.charge(contextValue.viewer, points);
      if (refused === null) return;
      response.http.status = 429;
      response.http.headers.set('retry-after', String(refused.retryAfterSeconds));
      throw toGraphQLError(refused);
    },
  }),
});

function countSends(operation: OperationDefinitionNode, schema: GraphQLSchema, variables: Record<string, unknown>) {
  const field = schema.getMutationType()?.getFields()['sendNotifications'];
  if (field === undefined || operation.operation !== OperationTypeNode.MUTATION) return 0;
  const sizes = operation.selectionSet.selections.map((node) => {
    if (node.kind !== Kind.FIELD || node.name.value !== field.name) return 1;
    const { inputs } = getArgumentValues(field, node, variables);
    return Array.isArray(inputs) ? inputs.length : 1;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}
