import { Pool } from 'undici';
import { signRequest, type SignedContext } from './trust.ts';

/** Another process of ours that can't be asked now: refused, timed out, or answering nonsense. */
export class ServiceUnavailable extends Error {
  override name = 'ServiceUnavailable';
  readonly code = 'SERVICE_UNAVAILABLE';
}

export type ServiceClient = {
  /**
   * Posts a GraphQL request, signed, and gives back the parsed answer.
   * @throws ServiceUnavailable
   */
  graphql(request: GraphQLRequest, context: SignedContext): Promise<GraphQLAnswer>;
  /** Ends what is still asked: whoever waited for it is gone by then. */
  stop(): Promise<void>;
};

export type GraphQLRequest = {
  query: string;
  variables?: Record<string, unknown> | undefined;
  operationName?: string | undefined;
};
export type GraphQLAnswer = {
  data?: Record<string, unknown> | null;
  errors?: { message: string; extensions?: Record<string, unknown> }[];
};

/**
 * Creates a client for one service; keep one per process.
 * @param options.caller our own name, part of the signature
 * @param options.timeoutMs for a whole request
 */
export function createServiceClient(options: {
  url: string;
  caller: string;
  secret: string;
  timeoutMs: number;
}): ServiceClient {
  const { origin, pathname } = new URL(options.url);
  const path = `${pathname.replace(/\/+$/, '')}/graphql`;
  // Below the server's keep-alive, so that the server never closes a connection we are about to use.
  const pool = new Pool(origin, { connections: 64, pipelining: 1, keepAliveTimeout: 10_000, connectTimeout: 2_000 });

  return {
    async graphql(request, context) {
      const body = JSON.stringify(request);
      try {
        const response = await pool.request({
          method: 'POST',
          path,
          body,
          headers: {
            'content-type': 'application/json',
            'x-request-id': context.requestId,
            ...signRequest({ method: 'POST', path, body }, context, options.caller, options.secret),
          },
          signal: AbortSignal.timeout(options.timeoutMs),
        });
        const answer = (await response.body.json()) as GraphQLAnswer;
        if (response.statusCode >= 500) throw new Error(`it answered ${response.statusCode}`);
        if (answer.data === undefined && !answer.errors?.length)
          throw new Error(`it answered ${response.statusCode} without data`);
        return answer;
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new ServiceUnavailable(`${options.url} can't be asked: ${why}`, { cause });
      }
    },
    stop: () => pool.destroy(),
  };
}
