import { Pool } from 'undici';
import { leftOf, type Deadline } from './deadline.ts';
import { signRequest, type SignedContext } from './trust.ts';

/** Another process of ours that can't be asked now: refused, timed out, or answering nonsense. */
export class ServiceUnavailable extends Error {
  override name = 'ServiceUnavailable';
  readonly code = 'SERVICE_UNAVAILABLE';
  /**
   * `refused`: it has not seen the request. `too_large`: it does not read one of that size. `timeout`: no answer in time. `lost`:
   * whether it has seen it, nobody knows.
   */
  readonly how: 'refused' | 'too_large' | 'timeout' | 'lost';
  /** How long it was waited for, milliseconds. */
  readonly waitedMs: number;
  constructor(
    message: string,
    { how = 'lost', waitedMs = 0, cause }: { how?: ServiceUnavailable['how']; waitedMs?: number; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.how = how;
    this.waitedMs = waitedMs;
  }
}

export type ServiceClient = {
  /**
   * Posts a GraphQL request, signed, and gives back the parsed answer.
   * @param deadline when nobody waits any more, if that is sooner than the client's own time; the service is told
   * @throws ServiceUnavailable
   */
  graphql(request: GraphQLRequest, context: SignedContext, deadline?: Deadline): Promise<GraphQLAnswer>;
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
 * @param options.callee the service's name
 * @param options.caller our own name; both are part of the signature
 * @param options.timeoutMs for a whole request
 */
export function createServiceClient(options: {
  url: string;
  callee: string;
  caller: string;
  secret: string;
  timeoutMs: number;
}): ServiceClient {
  const { url, callee, caller, secret } = options;
  const { origin, pathname } = new URL(url);
  const path = `${pathname.replace(/\/+$/, '')}/graphql`;
  // Below the server's keep-alive, so that the server never closes a connection we are about to use.
  const pool = new Pool(origin, { connections: 64, pipelining: 1, keepAliveTimeout: 10_000, connectTimeout: 2_000 });

  return {
    async graphql(request, context, deadline) {
      const timeoutMs = Math.floor(Math.min(options.timeoutMs, deadline === undefined ? Infinity : leftOf(deadline)));
      if (timeoutMs <= 0) throw new ServiceUnavailable(`${url} was not asked: its time is over`, { how: 'timeout' });
      const body = JSON.stringify(request);
      const since = performance.now();
      const signal = AbortSignal.timeout(timeoutMs);
      let status = 0;
      try {
        const response = await pool.request({
          method: 'POST',
          path,
          body,
          headers: {
            'content-type': 'application/json',
            'x-request-id': context.requestId,
            ...(context.trace && { ...context.trace }),
            ...signRequest({ method: 'POST', path, body }, { ...context, timeoutMs }, { caller, callee }, secret),
          },
          signal,
        });
        status = response.statusCode;
        const answer = (await response.body.json()) as GraphQLAnswer;
        if (status >= 500) throw new Error(`it answered ${status}`);
        if (answer.data === undefined && !answer.errors?.length) throw new Error(`it answered ${status} without data`);
        return answer;
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        const how = status === 413 ? 'too_large' : isRefusal(cause) ? 'refused' : 'lost';
        throw new ServiceUnavailable(`${url} can't be asked: ${why}`, {
          how: signal.aborted ? 'timeout' : how,
          waitedMs: performance.now() - since,
          cause,
        });
      }
    },
    stop: () => pool.destroy(),
  };
}

/** No connection came about, so nothing was sent. */
const isRefusal = (cause: unknown): boolean =>
  cause instanceof Error && 'code' in cause && REFUSED.has(String(cause.code));

const REFUSED = new Set([
  'ECONNREFUSED',
  'UND_ERR_CONNECT_TIMEOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
