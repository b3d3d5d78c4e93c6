import { GraphQLRequestError, type GraphQLFault } from './request-error.ts';
import { subscribe, type SubscribeOptions } from './subscribe.ts';

export { GraphQLRequestError, type InputFault } from './request-error.ts';
export type { SubscribeOptions } from './subscribe.ts';

/** A typed document that codegen made of `operations/*.graphql`: its text, and what it takes and gives. */
export type Document<Result, Variables> = {
  toString(): string;
  __apiType?: (variables: Variables) => Result;
};

export type Client = {
  /**
   * Runs one operation and gives back its data.
   * @throws GraphQLRequestError when Herald refuses any part of it, Error when nobody answers in time, or somebody who is not Herald
   */
  request<Result, Variables>(
    document: Document<Result, Variables>,
    variables: Variables,
    options?: RequestOptions,
  ): Promise<Result>;
  /**
   * Runs one operation and gives back what there is: data, errors, or both, when a part of the answer is missing.
   * @throws Error when nobody answers in time, or somebody who is not Herald
   */
  requestRaw<Result, Variables>(
    document: Document<Result, Variables>,
    variables: Variables,
    options?: RequestOptions,
  ): Promise<Answer<Result>>;
  /**
   * Runs a subscription over a WebSocket of its own, and reconnects for as long as it is read. Where the document takes a variable
   * `after` and its events have a `cursor`, it goes on behind the last one it gave: without a gap, without a repeat.
   * @throws GraphQLRequestError when Herald refuses it, Error when a limit that the options set is reached
   */
  subscribe<Result, Variables extends object>(
    document: Document<Result, Variables>,
    variables: Variables,
    options?: SubscribeOptions,
  ): AsyncIterableIterator<Result>;
};

export type ClientOptions = Credential & {
  /** The gateway, for example http://127.0.0.1:8000 */
  url: string;
  /** How long a request may take; 30 s when left out. */
  timeoutMs?: number;
};

/** Who asks: a client's key, a user's token, or whatever is valid now. None of them: only logIn and refreshSession are open. */
export type Credential =
  | { apiKey?: string; accessToken?: undefined; getToken?: undefined }
  | { accessToken: string; apiKey?: undefined; getToken?: undefined }
  /** Asked before every request and every connection. */
  | { getToken: () => string | Promise<string>; apiKey?: undefined; accessToken?: undefined };

export type RequestOptions = {
  /** Gives the request up. What was asked may have been done: a send is safe to repeat with the same requestId. */
  signal?: AbortSignal;
  /** Instead of the client's. */
  timeoutMs?: number;
};

/** `data` may have holes where `errors` say so; it is null when nothing is left. */
export type Answer<Result> = { data: Result | null; errors: GraphQLRequestError[]; requestId: string | null };

const TIMEOUT_MS = 30_000;

/** Creates a client of one Herald. It holds nothing open but subscriptions that are read. */
export function createClient({ url, timeoutMs = TIMEOUT_MS, ...credential }: ClientOptions): Client {
  const endpoint = `${url.replace(/\/+$/, '')}/graphql`;

  const authorize = async (): Promise<Record<string, string>> => {
    const token = credential.getToken ? await credential.getToken() : (credential.apiKey ?? credential.accessToken);
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  };

  const requestRaw: Client['requestRaw'] = async <Result, Variables>(
    document: Document<Result, Variables>,
    variables: Variables,
    options: RequestOptions = {},
  ) => {
    const limitMs = options.timeoutMs ?? timeoutMs;
    const timeout = AbortSignal.timeout(limitMs);
    try {
      const response = await fetch(endpoint, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(await authorize()) },
        body: JSON.stringify({ query: document.toString(), variables }),
        signal: options.signal ? AbortSignal.any([timeout, options.signal]) : timeout,
      });
      return toAnswer<Result>(await response.text(), response, `${endpoint} answered ${response.status}`);
    } catch (error) {
      if (timeout.aborted && !options.signal?.aborted)
        throw new Error(`${endpoint} did not answer within ${limitMs} ms`, { cause: error });
      throw error;
    }
  };

  return {
    requestRaw,
    async request(document, variables, options) {
      const { data, errors } = await requestRaw(document, variables, options);
      if (errors[0] !== undefined) throw errors[0];
      // Without errors there is data: toAnswer has seen to that.
      return data as NonNullable<typeof data>;
    },
    subscribe: (document, variables, options) =>
      subscribe({ url: endpoint.replace(/^http/, 'ws'), authorize }, document, variables, options),
  };
}

/** @param what was answered, and by whom, for the message */
function toAnswer<Result>(text: string, { headers }: Response, what: string): Answer<Result> {
  const { data = null, errors = [] } = parseAnswer<Result>(text, what);
  if (data === null && errors.length === 0) throw new Error(`${what} without data`);
  const requestId = headers.get('x-request-id');
  const retryAfter = Number(headers.get('retry-after') ?? Number.NaN);
  const retryAfterSeconds = Number.isFinite(retryAfter) ? retryAfter : null;
  return {
    data,
    errors: errors.map((fault) => new GraphQLRequestError(fault, { requestId, retryAfterSeconds })),
    requestId,
  };
}

function parseAnswer<Result>(text: string, what: string): { data?: Result | null; errors?: GraphQLFault[] } {
  try {
    return JSON.parse(text) as { data?: Result | null; errors?: GraphQLFault[] };
  } catch (cause) {
    throw new Error(`${what} with something that is not JSON: ${text.slice(0, 200)}`, { cause });
  }
}
