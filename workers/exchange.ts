import { Agent } from 'undici';

export type Answer = { status: number; headers: Record<string, string>; body: string };

/** `not_sent`: nothing left this machine. `unclear`: the request may have arrived, but no whole answer came back. */
export type Exchange =
  ({ kind: 'answered' } & Answer) | { kind: 'not_sent'; reason: string } | { kind: 'unclear'; reason: string };

export type HttpRequest = {
  url: string;
  method: 'GET' | 'POST';
  headers: Record<string, string>;
  body: string | Buffer | null;
};

/** More than any answer worth keeping; what comes after is dropped. */
const MAX_BODY_BYTES = 64 * 1024;

/**
 * Creates connections for `exchange`, kept open between requests.
 * @param options.ca PEM, trusted instead of the public authorities
 */
export const createAgent = ({ ca, timeoutMs }: { ca: string | null; timeoutMs: number }): Agent =>
  // HTTP/1.1, as undici sends a stream of HTTP/2 that the server refuses again, unseen.
  new Agent({ allowH2: false, connect: { ca: ca ?? undefined, timeout: timeoutMs } });

/**
 * Makes one HTTP request, once: no redirect is followed and nothing is repeated. Never rejects; an aborted signal ends it and
 * its connection.
 * @param request.url must be valid
 */
export function exchange(agent: Agent, request: HttpRequest, signal: AbortSignal): Promise<Exchange> {
  const { origin, pathname, search } = new URL(request.url);
  const { promise, resolve } = Promise.withResolvers<Exchange>();
  const chunks: Buffer[] = [];
  const answer: Answer = { status: 0, headers: {}, body: '' };
  let size = 0;
  let wasStarted = false;
  let cut: ((reason: Error) => void) | null = null;

  const end = (result: Exchange) => {
    signal.removeEventListener('abort', giveUp);
    resolve(result);
  };
  const fail = (reason: string) => end({ kind: wasStarted ? 'unclear' : 'not_sent', reason });
  const giveUp = () => {
    fail(wasStarted ? NO_ANSWER : 'there was no connection in time');
    cut?.(new Error(NO_ANSWER));
  };
  if (signal.aborted) {
    fail('the time was up before the request');
    return promise;
  }
  signal.addEventListener('abort', giveUp, { once: true });

  agent.dispatch(
    {
      origin,
      path: pathname + search,
      method: request.method,
      headers: request.headers,
      body: request.body,
      // The signal is the one time limit.
      headersTimeout: 0,
      bodyTimeout: 0,
    },
    {
      // From here on bytes go out; whatever fails before has surely not been sent.
      onRequestStart(controller) {
        if (signal.aborted) controller.abort(new Error(NO_ANSWER));
        else {
          wasStarted = true;
          cut = (reason) => controller.abort(reason);
        }
      },
      onResponseStart(_controller, status, headers) {
        answer.status = status;
        for (const [name, value] of Object.entries(headers)) answer.headers[name] = String(value);
      },
      onResponseData(_controller, chunk) {
        const part = chunk.subarray(0, MAX_BODY_BYTES - size);
        size += part.length;
        chunks.push(part);
      },
      onResponseEnd() {
        end({ kind: 'answered', ...answer, body: Buffer.concat(chunks).toString() });
      },
      onResponseError(_controller, error) {
        fail(error.message === '' ? error.name : error.message);
      },
    },
  );
  return promise;
}

/** The body of an answer, parsed; null when it is not JSON. */
export function readJson({ body }: Answer): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

const NO_ANSWER = 'the server did not answer in time';
