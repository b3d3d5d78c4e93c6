import type { ApolloServerPlugin, BaseContext } from '@apollo/server';
import { Kind, type OperationDefinitionNode } from 'graphql';
import { Histogram } from 'prom-client';
import { DURATION_BUCKETS, type Metrics } from './metrics.ts';

/** Measures every GraphQL operation by the first of its root fields, of which there are as many as the schema has. */
export function measureOperations(metrics: Metrics): ApolloServerPlugin<BaseContext> {
  const durations = new Histogram({
    name: 'herald_graphql_duration_seconds',
    help: 'How long GraphQL operations took, by their first root field and ok or the code of their first error; invalid: no operation of the schema',
    labelNames: ['operation', 'outcome'],
    buckets: DURATION_BUCKETS,
    registers: [metrics],
  });
  return {
    requestDidStart: async () => {
      const since = performance.now();
      let isValid = false;
      return {
        didResolveOperation: async () => {
          isValid = true;
        },
        willSendResponse: async ({ operation, response: { body } }) => {
          const [error] = (body.kind === 'single' ? body.singleResult.errors : undefined) ?? [];
          const code = error?.extensions?.['code'];
          durations.observe(
            {
              operation: isValid && operation ? nameOf(operation) : 'invalid',
              outcome: error === undefined ? 'ok' : typeof code === 'string' ? code : 'INTERNAL',
            },
            (performance.now() - since) / 1_000,
          );
        },
      };
    },
  };
}

/** `query notifications`. */
function nameOf({ operation, selectionSet }: OperationDefinitionNode): string {
  const field = selectionSet.selections.find((selection) => selection.kind === Kind.FIELD);
  return `${operation} ${field?.name.value ?? '…'}`;
}
