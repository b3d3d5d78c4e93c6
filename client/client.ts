/** A typed document that codegen made of `operations/*.graphql`: its text, and what it takes and gives. */
export type Document<Result, Variables> = {
  toString(): string;
  __apiType?: (variables: Variables) => Result;
};

export type Client = {
  /**
   * Runs one operation and gives back its data.
   * @throws GraphQLRequestError when Herald refuses it, Error when what answers is not Herald
   */
  request<Result, Variables>(document: Document<Result, Variables>, variables: Variables): Promise<Result>;
};

/** Herald's "no". `code` is for programs, for example `BAD_USER_INPUT`; `field` is the path of the faulty input. */
export class GraphQLRequestError extends Error {
  override name = 'GraphQLRequestError';
  readonly code: string;
  readonly field: string | null;
  /** Finds the request in Herald's log. */
  readonly requestId: string | null;
  constructor({ message, extensions = {} }: GraphQLFault, requestId: string | null = null) {
    super(message);
    this.code = extensions.code ?? 'UNKNOWN';
    this.field = extensions.field ?? null;
    this.requestId = extensions.requestId ?? requestId;
  }
}

/**
 * Creates a client of one Herald.
 * @param options.url the gateway, for example http://127.0.0.1:8000
 */
export function createClient({ url, apiKey }: { url: string; apiKey: string }): Client {
  const endpoint = `${url.replace(/\/+$/, '')}/graphql`;
  return {
    async request<Result, Variables>(document: Document<Result, Variables>, variables: Variables): Promise<Result> {
      const response = await fetch(endpoint, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
        body: JSON.stringify({ query: document.toString(), variables }),
      });
      const { data, errors } = parseAnswer<Result>(await response.text(), `${endpoint} answered ${response.status}`);
      const [fault] = errors ?? [];
      if (fault !== undefined) throw new GraphQLRequestError(fault, response.headers.get('x-request-id'));
      if (data === undefined || data === null) throw new Error(`${endpoint} answered ${response.status} without data`);
      return data;
    },
  };
}

function parseAnswer<Result>(text: string, what: string): Answer<Result> {
  try {
    return JSON.parse(text) as Answer<Result>;
  } catch (cause) {
    throw new Error(`${what} with something that is not JSON: ${text.slice(0, 200)}`, { cause });
  }
}

type Answer<Result> = { data?: Result | null; errors?: GraphQLFault[] };

type GraphQLFault = { message: string; extensions?: { code?: string; field?: string; requestId?: string } };
