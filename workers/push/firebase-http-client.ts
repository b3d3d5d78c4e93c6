import type { Messaging } from 'firebase-admin/messaging';

export type FirebaseAnswer = { status: number; headers: Record<string, unknown>; data: unknown };

/**
 * Makes the HTTP client inside firebase-admin send once (by itself it repeats after ECONNRESET, ETIMEDOUT and 503, up to
 * four times inside one `send`), in our time and to our address, and refuse a good status without a message's name.
 * firebase-admin has no option for any of this, so this reaches for the client it keeps.
 * @throws Error when that client is not where it was: a send that may be repeated unseen must not start
 */
export function steerHttpClient(
  messaging: Messaging,
  options: { baseUrl: string | null; timeoutMs: number },
): Messaging {
  const client = findHttpClient(messaging);
  client.retry.maxRetries = 0;
  const send = client.send.bind(client);
  client.send = async (request) => {
    const url = options.baseUrl === null ? request.url : rebase(request.url, options.baseUrl);
    const response = await send({ ...request, url, timeout: options.timeoutMs });
    if (!response.isJson() || hasName(response.data)) return response;
    const { status, headers, data } = response;
    throw Object.assign(new Error('an answer without a name'), { httpResponse: { status, headers, data } });
  };
  return messaging;
}

/** The same path at another server. */
function rebase(url: string, baseUrl: string): string {
  const { pathname, search } = new URL(url);
  return baseUrl.replace(/\/+$/, '') + pathname + search;
}

function findHttpClient(messaging: Messaging): HttpClient {
  const client = read(read(messaging, 'messagingRequestHandler'), 'httpClient');
  if (!isHttpClient(client))
    throw new Error('firebase-admin keeps its HTTP client elsewhere in this version: its retries cannot be turned off');
  return client;
}

const isHttpClient = (value: unknown): value is HttpClient =>
  typeof read(value, 'send') === 'function' && typeof read(read(value, 'retry'), 'maxRetries') === 'number';

const hasName = (data: unknown) => typeof read(data, 'name') === 'string' || typeof read(data, 'error') === 'object';

const read = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;

type HttpClient = {
  retry: { maxRetries: number };
  send(request: { url: string; timeout?: number }): Promise<FirebaseAnswer & { isJson(): boolean }>;
};
