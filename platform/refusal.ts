import { GraphQLError } from 'graphql';

/**
 * An expected "no": the caller's input or rights, or a dependency that is away. It is a value where rules are decided and
 * becomes a GraphQL error, or problem details, at the edge.
 */
export type Refusal = {
  kind: 'refused';
  code: RefusalCode;
  message: string;
  faults: Fault[];
  /** Seconds after which the same call may succeed. */
  retryAfterSeconds?: number;
};

/** One wrong thing; `field` is the path in GraphQL's spelling, for example `variables.name`. A fault within a text has its place, from 1. */
export type Fault = { field: string; code: string; message: string; line?: number; column?: number };

/** Each code and the HTTP status it means. */
export const STATUS_OF = {
  BAD_USER_INPUT: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  CURSOR_EXPIRED: 410,
  TOO_COMPLEX: 400,
  UNTRUSTED_DOCUMENT: 400,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNPROCESSABLE: 422,
  RATE_LIMITED: 429,
  UNAVAILABLE: 503,
  TIMEOUT: 504,
} as const;

export type RefusalCode = keyof typeof STATUS_OF;

/** A refusal about one field, or (without `field`) about the whole call. */
export const refuse = (code: RefusalCode, message: string, field?: string, faultCode: string = code): Refusal => ({
  kind: 'refused',
  code,
  message,
  faults: field === undefined ? [] : [{ field, code: faultCode, message }],
});

/** Several faults of one input at once. */
export const refuseFaults = (code: RefusalCode, faults: [Fault, ...Fault[]]): Refusal => ({
  kind: 'refused',
  code,
  message: faults.map((fault) => fault.message).join('; '),
  faults,
});

export const unavailable = (message: string, retryAfterSeconds: number): Refusal => ({
  ...refuse('UNAVAILABLE', message),
  retryAfterSeconds,
});

export const isRefusal = (value: unknown): value is Refusal =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'refused';

/** The GraphQL form: `extensions { code, field, errors, retryAfterSeconds }`. */
export const toGraphQLError = (refusal: Refusal): GraphQLError =>
  new GraphQLError(refusal.message, {
    extensions: {
      code: refusal.code,
      ...(refusal.faults.length > 0 && { field: refusal.faults[0]?.field, errors: refusal.faults }),
      ...(refusal.retryAfterSeconds !== undefined && { retryAfterSeconds: refusal.retryAfterSeconds }),
    },
  });

/** Gives back the value, or throws the refusal as a GraphQL error: for resolvers. */
export function orThrow<T>(value: T | Refusal): T {
  if (isRefusal(value)) throw toGraphQLError(value);
  return value;
}
