import type { ApolloServerPlugin } from '@apollo/server';
import { getVariableValues, GraphQLError, OperationTypeNode } from 'graphql';
import type { Admission } from '../../platform/admission.ts';
import { refuseTooDeep } from '../../platform/json-depth.ts';
import { refuse, STATUS_OF, toGraphQLError, type Refusal } from '../../platform/refusal.ts';
import type { GatewayContext } from '../federation/data-source.ts';
import { refuseTooMuch } from './check-operation.ts';
import type { Costs } from './costs.ts';
import { measureOperation } from './measure-operation.ts';

/** Of a request that has none of these; theirs is the server's. */
export const MAX_BODY_BYTES = 100 * 1024;
const LARGE_FIELDS = new Set(['sendNotifications', 'createTemplate', 'draftTemplateVersion', 'previewTemplate']);

/**
 * Looks at every operation after its validation and before its plan, whether it came as GraphQL or over REST: nothing is planned or
 * done that may be too much. A request that sends many counts as many against the rate limit.
 * @param costs those of the supergraph that is served now
 */
export const limitOperations = (
  admission: Admission,
  costs: () => Costs,
  maxCost: number,
): ApolloServerPlugin<GatewayContext> => ({
  requestDidStart: async () => ({
    didResolveOperation: async ({ operation, document, schema, request, contextValue, response }) => {
      const { variables = {} } = request;
      // The gateway would meet an error of its own.
      if (operation === undefined) {
        response.http.status = 400;
        throw new GraphQLError(
          'operationName must name one of the operations of the document: it may be left out where there is only one',
          { extensions: { code: 'OPERATION_RESOLUTION_FAILURE' } },
        );
      }
      const refuseWith = (refusal: Refusal | null) => {
        if (refusal === null) return;
        response.http.status = STATUS_OF[refusal.code];
        if (refusal.retryAfterSeconds !== undefined)
          response.http.headers.set('retry-after', String(refusal.retryAfterSeconds));
        throw toGraphQLError(refusal);
      };
      if (operation.operation === OperationTypeNode.SUBSCRIPTION)
        refuseWith(
          refuse(
            'BAD_USER_INPUT',
            'a subscription is not taken here: open a WebSocket (graphql-transport-ws) at this address, or send it to /graphql/stream',
          ),
        );
      for (const value of Object.values<unknown>(variables))
        if (typeof value === 'object' && value !== null) refuseWith(refuseTooDeep(value));
      const { coerced, errors } = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
      // Of the wrong kind: the gateway refuses them, and does nothing.
      if (errors !== undefined) return;
      const measure = measureOperation(schema, document, operation, coerced, costs());
      const mayBeLarge = measure.rootFields.some((name) => LARGE_FIELDS.has(name));
      if (!mayBeLarge && (contextValue.bodyBytes ?? 0) > MAX_BODY_BYTES)
        refuseWith(
          refuse(
            'PAYLOAD_TOO_LARGE',
            `the body is larger than 100 KiB, which only ${[...LARGE_FIELDS].join(', ')} may be`,
          ),
        );
      refuseWith(refuseTooMuch(measure, maxCost));
      refuseWith(await admission.charge(contextValue.viewer, measure.sends - 1));
    },
  }),
});
