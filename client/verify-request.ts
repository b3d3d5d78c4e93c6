import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** Whoever asked Herald's gateway. */
export type Viewer = {
  kind: 'admin' | 'client' | 'user' | 'worker' | 'service' | 'anonymous';
  /** The client's, user's or process's id. */
  id: string;
  /** What its credential may do in Herald. */
  scopes: readonly string[];
};

/** What a signed request says besides its body. */
export type SignedContext = { viewer: Viewer; requestId: string };

/** A request as it came: `path` with its query, `body` before anything parsed it. */
export type ReceivedRequest = {
  method: string;
  path: string;
  body: string | Buffer;
  headers: Record<string, string | string[] | undefined>;
};

const SKEW_MS = 30_000;
/** Milliseconds since 1970; what is not a number would be neither too old nor too new. */
const TIME = /^\d{1,15}$/;

/**
 * For a subgraph of yours that Herald's gateway asks: checks that a request comes from there (HMAC-SHA256; docs/protocol.md,
 * "Between processes") and says for whom. It remembers the nonces of a minute, so keep one for the life of the process.
 * @param options.name this subgraph's, as it stands in the supergraph and in the gateway's EXTRA_SUBGRAPHS: what is signed for
 *   another one is refused, even with the same secret
 * @param options.secret the one in EXTRA_SUBGRAPHS
 * @returns a check that gives the context, or a sentence on why the request is not to be trusted
 */
export function createVerifier({
  name: callee,
  secret,
}: {
  name: string;
  secret: string;
}): (request: ReceivedRequest) => SignedContext | string {
  const seen = new Map<string, number>();
  return ({ method, path, body, headers }) => {
    const get = (name: string) => {
      const value = headers[`x-herald-${name}`];
      return typeof value === 'string' ? value : '';
    };
    const key = createHmac('sha256', secret).update(get('caller')).digest();
    const expected = createHmac('sha256', key)
      .update([callee, method, path, get('time'), get('nonce'), get('context')].join('\n'))
      .update(createHash('sha256').update(body).digest())
      .digest();
    const signature = Buffer.from(get('signature'), 'base64url');
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected))
      return 'the request is not signed with the secret of this subgraph, for it';

    const now = Date.now();
    if (!TIME.test(get('time'))) return 'its time is no number of milliseconds';
    if (Math.abs(now - Number(get('time'))) > SKEW_MS)
      return 'the signature is older than 30 s: compare the clocks of the two machines';
    for (const [nonce, at] of seen) {
      if (now - at <= 2 * SKEW_MS) break;
      seen.delete(nonce);
    }
    if (seen.has(get('nonce'))) return 'the request was sent before';
    seen.set(get('nonce'), now);
    // Signed by one who holds the secret.
    return JSON.parse(Buffer.from(get('context'), 'base64url').toString()) as SignedContext;
  };
}
