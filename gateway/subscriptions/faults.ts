import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import { causeOf, maskError, maskWithoutSuggestions } from '../../platform/mask-error.ts';
import type { Logger } from '../../platform/logger.ts';

/** An error as a client may see it, with the request to look for in the log. */
export type Show = (error: GraphQLError, requestId: string) => GraphQLFormattedError;

/** The same mask as over HTTP. @param introspection whether who asks may learn names of the schema */
export const createShow = (introspection: boolean, log: Logger): Show => {
  const mask = introspection ? maskError : maskWithoutSuggestions;
  return (error, requestId) => {
    const { extensions, ...shown } = mask(withCode(error), error);
    if (extensions?.['code'] === 'INTERNAL')
      log.error({ err: causeOf(error), path: error.path, requestId }, 'unexpected error in a subscription');
    return { ...shown, extensions: { ...extensions, requestId } };
  };
};

/** graphql-js's own errors say by their kind what Apollo says by a code. */
const withCode = (error: GraphQLError): GraphQLFormattedError => {
  const formatted = error.toJSON();
  if (formatted.extensions?.['code'] !== undefined || error.originalError) return formatted;
  const code = error.message.startsWith('Syntax Error') ? 'GRAPHQL_PARSE_FAILED' : 'GRAPHQL_VALIDATION_FAILED';
  return error.path === undefined ? { ...formatted, extensions: { code } } : formatted;
};

/** What is wrong with a request; null for what is wrong with us. */
export function faultsOf(error: unknown): readonly GraphQLError[] | null {
  if (error instanceof GraphQLError) return [error];
  if (error instanceof AggregateError && error.errors.every((one) => one instanceof GraphQLError)) return error.errors;
  return null;
}
