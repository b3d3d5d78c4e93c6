import { setTimeout as sleep } from 'node:timers/promises';
import type { GraphQLDataSource } from '@apollo/gateway';
import { Kind, parse, type SelectionSetNode } from 'graphql';
import { leftOf, type Deadline } from '../../platform/deadline.ts';
import { refuse, toGraphQLError, unavailable, type Refusal } from '../../platform/refusal.ts';
import { ServiceUnavailable } from '../../platform/service-client.ts';
import type { Logger } from '../../platform/logger.ts';
import { toLogIds } from '../../platform/request-context.ts';
import type { SignedContext } from '../../platform/trust.ts';
import { CircuitOpen, type GuardedService } from './circuit.ts';

/** What the gateway knows of a client's request: who asks, and until when all of its fetches must be done. */
export type GatewayContext = SignedContext & {
  deadline: Deadline;
  /** The size of the request's body; not of one that came over REST, where each path has its limit. */
  bodyBytes?: number;
};

/**
 * How the gateway asks one subgraph: over our own client, which keeps connections and signs (Apollo's default client is 45 % of a
 * gateway's CPU). All fetches of a request share its deadline. What can't have been done is tried once more.
 */
export const createDataSource = (
  name: string,
  service: GuardedService,
  log: Logger,
): GraphQLDataSource<GatewayContext> => ({
  async process(options) {
    if (!('incomingRequestContext' in options)) {
      throw new Error(`the gateway loads its schema from a file and asks the ${name} service for none`);
    }
    const { query = '', variables, operationName } = options.request;
    const { deadline, viewer, requestId, correlationId, address, trace } = options.context;
    const context: SignedContext = {
      viewer,
      requestId,
      ...(correlationId !== undefined && { correlationId }),
      ...(address !== undefined && { address }),
      ...(trace && { trace }),
    };
    const isMutation = MUTATION.test(query);
    const ask = () => service.graphql({ query, variables, operationName }, context, deadline);
    try {
      return await ask().catch(async (error: unknown) => {
        if (!isWorthAnother(error, isMutation) || leftOf(deadline) < MIN_LEFT_MS) throw error;
        // The connection may be of a process that has just gone; the next one is to another.
        await sleep(RETRY_DELAY_MS * (0.5 + Math.random()));
        return ask();
      });
    } catch (error) {
      const refusal = toRefusal(error, isMutation);
      if (refusal === null) throw error;
      if (!(error instanceof CircuitOpen)) {
        log.error({ err: error, service: name, ...toLogIds(context) }, 'a subgraph did not answer');
      }
      const away = toGraphQLError(refusal);
      return { errors: pathsOf(query, variables).map((path) => ({ ...away.toJSON(), path })) };
    }
  },
});

/** Where the data is missing, in the subgraph's answer: the gateway finds the client's own place for it. */
function pathsOf(query: string, { representations }: Record<string, unknown> = {}): (string | number)[][] {
  if (Array.isArray(representations)) return representations.map((_, index) => ['_entities', index]);
  const operation = parse(query).definitions.find(({ kind }) => kind === Kind.OPERATION_DEFINITION);
  return operation?.kind === Kind.OPERATION_DEFINITION ? keysOf(operation.selectionSet).map((key) => [key]) : [[]];
}

const keysOf = ({ selections }: SelectionSetNode): string[] =>
  selections.flatMap((selection) => {
    if (selection.kind === Kind.FIELD) return [(selection.alias ?? selection.name).value];
    return selection.kind === Kind.INLINE_FRAGMENT ? keysOf(selection.selectionSet) : [];
  });

/** The planner writes the operations for subgraphs, always with their kind in front. */
const MUTATION = /^\s*mutation\b/;

/** A question may be asked twice; a mutation only when the first can't have arrived. A time-out has used its time up. */
const isWorthAnother = (error: unknown, isMutation: boolean) =>
  error instanceof ServiceUnavailable && (error.how === 'refused' || (error.how === 'lost' && !isMutation));

/** Which service it is, the log says; which part of the answer is missing, the error's path. */
function toRefusal(error: unknown, isMutation: boolean): Refusal | null {
  if (error instanceof CircuitOpen) return unavailable(AWAY, error.retryAfterSeconds);
  if (!(error instanceof ServiceUnavailable)) return null;
  if (error.how === 'too_large')
    return refuse('PAYLOAD_TOO_LARGE', 'there is too much here to ask for at once: take smaller pages');
  if (error.how === 'refused' || (error.how === 'lost' && !isMutation)) return unavailable(AWAY, RETRY_AFTER_SECONDS);
  const what = error.how === 'timeout' ? 'did not answer in time' : 'went away before it answered';
  const advice = isMutation ? '; it may have been done: look, or repeat it with the same requestId' : '';
  return error.how === 'timeout'
    ? { ...refuse('TIMEOUT', `a service that this needs ${what}${advice}`), retryAfterSeconds: RETRY_AFTER_SECONDS }
    : unavailable(`a service that this needs ${what}${advice}`, RETRY_AFTER_SECONDS);
}

const AWAY = 'a service that this needs is away';
const RETRY_AFTER_SECONDS = 2;
const RETRY_DELAY_MS = 40;
const MIN_LEFT_MS = 100;
