import type { GraphQLDataSource } from '@apollo/gateway';
import { toGraphQLError, unavailable } from '../../platform/refusal.ts';
import { ServiceUnavailable, type ServiceClient } from '../../platform/service-client.ts';
import type { Logger } from '../../platform/logger.ts';
import type { SignedContext } from '../../platform/trust.ts';

/**
 * How the gateway asks one subgraph: over our own client, which keeps connections and signs. Apollo's default client is
 * 45 % of a gateway's CPU.
 */
export const createDataSource = (
  name: string,
  client: ServiceClient,
  log: Logger,
): GraphQLDataSource<SignedContext> => ({
  async process(options) {
    if (!('incomingRequestContext' in options)) {
      throw new Error(`the gateway loads its schema from a file and asks the ${name} service for none`);
    }
    const { query = '', variables, operationName } = options.request;
    try {
      const { viewer, requestId, address } = options.context;
      return await client.graphql(
        { query, variables, operationName },
        { viewer, requestId, ...(address !== undefined && { address }) },
      );
    } catch (error) {
      if (!(error instanceof ServiceUnavailable)) throw error;
      log.error({ err: error, service: name }, 'a subgraph did not answer');
      throw toGraphQLError(unavailable(`the ${name} service is away`, RETRY_AFTER_SECONDS));
    }
  },
});

const RETRY_AFTER_SECONDS = 2;
