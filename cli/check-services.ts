/** So long a service may take to answer. */
const TIMEOUT_MS = 5_000;

type Ready = { checks?: Record<string, { state: string; error?: string }> };

/** Asks a service whether it lives and what it lacks. */
export async function checkService(url: string): Promise<string> {
  const response = await ask(`${url}/ready`);
  const { checks = {} } = (await response.json().catch(() => ({}))) as Ready;
  const down = Object.entries(checks).filter(([, { state }]) => state !== 'up');
  if (down.length > 0)
    throw new Error(
      `runs, but ${down.map(([name, { error }]) => `${name} is down (${error ?? 'no reason'})`).join('; ')}`,
    );
  if (!response.ok) throw new Error(`answers ${response.status} to /ready: is that Herald?`);
  return `ready (${Object.keys(checks).join(', ') || 'no dependencies'})`;
}

/** The gateway must know the admin's key. */
export async function checkAdminKey(gatewayUrl: string, key: string): Promise<string> {
  const response = await ask(`${gatewayUrl}/graphql`, key, { query: '{ __typename }' });
  if (response.status === 401) throw new Error('is refused: give the gateway and the caller the same ADMIN_API_KEY');
  const answer = (await response.json().catch(() => null)) as { data?: { __typename?: string } } | null;
  if (answer?.data?.__typename !== 'Query') throw notHerald(gatewayUrl, response.status);
  return 'accepted';
}

/** An empty report changes nothing, and tells whether the key would be taken. */
export async function checkWorkerKey(gatewayUrl: string, key: string): Promise<string> {
  const response = await ask(`${gatewayUrl}/api/v1/email/status/`, key, []);
  if (response.status === 401) throw new Error('is refused: give the gateway and the workers the same WORKER_API_KEY');
  const answer = (await response.json().catch(() => null)) as { type?: string } | null;
  if (response.status !== 400 || !answer?.type?.startsWith('urn:herald:')) throw notHerald(gatewayUrl, response.status);
  return 'accepted';
}

const notHerald = (url: string, status: number) =>
  new Error(`what listens at ${url} answers ${status} and is not Herald's gateway: correct GATEWAY_URL`);

/** The address in mails: RFC 8058 wants https, and the recipient's mail program must reach it. */
export async function checkPublicUrl(url: string): Promise<string> {
  if (new URL(url).protocol === 'https:') return 'https, as one-click unsubscribing needs';
  throw new Error(`links in mails lead to ${url}: set PUBLIC_URL to the https:// address of the gateway`);
}

async function ask(url: string, key?: string, body?: unknown): Promise<Response> {
  try {
    return await fetch(url, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { ...(key !== undefined && { authorization: `Bearer ${key}` }), 'content-type': 'application/json' },
      ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
    });
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`does not answer: ${why}. Start it, or correct its URL`, { cause: error });
  }
}
