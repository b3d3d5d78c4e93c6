import type { ApolloServerPlugin } from '@apollo/server';
import { unwrapResolverError } from '@apollo/server/errors';
import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import type { Logger } from './logger.ts';
import { STATUS_OF } from './refusal.ts';
import { toLogIds } from './request-context.ts';
import type { SignedContext } from './trust.ts';

/** The extensions a caller may see; everything else a subgraph or Apollo adds stays inside. */
const SHOWN = ['code', 'field', 'errors', 'retryAfterSeconds'] as const;

/** What a caller is told of an error that nobody expected. */
export const UNEXPECTED = 'something went wrong here; the request id finds it in the log';

/** GraphQL's own verdicts on a document: the caller's fault, shown as they are. */
const DOCUMENT_FAULTS = new Set([
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'BAD_REQUEST',
  'OPERATION_RESOLUTION_FAILURE',
  'PERSISTED_QUERY_NOT_FOUND',
  'PERSISTED_QUERY_NOT_SUPPORTED',
]);

/** Every code that a GraphQL error may have. */
export const ERROR_CODES: readonly string[] = [...Object.keys(STATUS_OF), ...DOCUMENT_FAULTS, 'INTERNAL'];

/** Apollo's `formatError`: errors made on purpose pass with their code; anything else is shown as an unexpected one. */
export function maskError(formatted: GraphQLFormattedError, error: unknown): GraphQLFormattedError {
  const code = String(formatted.extensions?.['code']);
  const { message, path, locations } = formatted;
  if (DOCUMENT_FAULTS.has(code)) return { message, locations, extensions: { code } };
  // Apollo's own word on a request that it can't read: the caller's fault too.
  if (isRequestFault(error)) return { message, extensions: { code: 'BAD_REQUEST' } };
  // graphql-js's: null, by a variable, for an argument that has a default.
  if (/^Argument "/.test(message)) return { message, path, extensions: { code: 'BAD_USER_INPUT' } };
  if (code in STATUS_OF) return { message, path, extensions: pick(formatted.extensions ?? {}) };
  return { message: UNEXPECTED, path, extensions: { code: 'INTERNAL' } };
}

/** The same, without the names that graphql-js suggests: of fields, types, arguments, enum values and input fields, in documents and variables. */
export function maskWithoutSuggestions(formatted: GraphQLFormattedError, error: unknown): GraphQLFormattedError {
  const masked = maskError(formatted, error);
  return { ...masked, message: masked.message.replace(/ ?Did you mean [^?]*\?/g, '') };
}

/** Logs whole what `maskError` hides, with the ids of its request, which `formatError` does not know. */
export const logUnexpectedErrors = (log: Logger): ApolloServerPlugin<SignedContext> => {
  const tell = (context: SignedContext, error: unknown, path?: GraphQLFormattedError['path']) =>
    log.error({ err: causeOf(error), path, ...toLogIds(context) }, 'unexpected error in a GraphQL operation');
  return {
    requestDidStart: async () => ({
      didEncounterErrors: async ({ errors, contextValue }) => {
        for (const error of errors) if (isUnexpected(error)) tell(contextValue, error, error.path);
      },
    }),
    unexpectedErrorProcessingRequest: async ({ requestContext, error }) => tell(requestContext.contextValue, error),
  };
};

const isUnexpected = (error: GraphQLError) => maskError(error, error).extensions?.['code'] === 'INTERNAL';

const isRequestFault = (error: unknown): boolean => {
  const http: unknown = error instanceof GraphQLError ? error.extensions['http'] : undefined;
  return typeof http === 'object' && http !== null && 'status' in http && http.status === 400;
};

const pick = (extensions: Record<string, unknown>) =>
  Object.fromEntries(SHOWN.flatMap((name) => (extensions[name] === undefined ? [] : [[name, extensions[name]]])));

/** What an error was made of, for the log. */
export const causeOf = (error: unknown) => {
  const cause = unwrapResolverError(error);
  return cause instanceof GraphQLError ? (cause.originalError ?? cause) : cause;
};
