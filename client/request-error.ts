/** Herald's "no". `code` is for programs, for example `BAD_USER_INPUT`; `field` is the path of the faulty input. */
export class GraphQLRequestError extends Error {
  override name = 'GraphQLRequestError';
  readonly code: string;
  readonly field: string | null;
  /** Every faulty field, where there is more than one. */
  readonly faults: readonly InputFault[];
  /** How long to wait before the same request is worth another try; null when waiting does not help. */
  readonly retryAfterSeconds: number | null;
  /** Finds the request in Herald's log. */
  readonly requestId: string | null;
  /** Where in the answer the data is missing, such as `['notification', 'user']`; null when all of it is. */
  readonly path: readonly (string | number)[] | null;
  constructor(
    { message, path, extensions = {} }: GraphQLFault,
    answer: { requestId?: string | null; retryAfterSeconds?: number | null } = {},
  ) {
    super(message);
    this.code = extensions.code ?? 'UNKNOWN';
    this.field = extensions.field ?? null;
    this.faults = extensions.errors ?? [];
    this.retryAfterSeconds = extensions.retryAfterSeconds ?? answer.retryAfterSeconds ?? null;
    this.requestId = extensions.requestId ?? answer.requestId ?? null;
    this.path = path ?? null;
  }
}

/** `code` names the rule that the field breaks. */
export type InputFault = { field: string; code: string; message: string };

/** An error as it comes over the wire. */
export type GraphQLFault = {
  message: string;
  path?: readonly (string | number)[];
  extensions?: {
    code?: string;
    field?: string;
    errors?: InputFault[];
    retryAfterSeconds?: number;
    requestId?: string;
  };
};
