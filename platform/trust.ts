import { createHash, createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { toRing } from './secret-ring.ts';
import type { Trace } from './trace.ts';

/** Whoever asks. It travels between processes as part of a signed request. */
export type Viewer = {
  kind: 'admin' | 'client' | 'user' | 'worker' | 'service' | 'anonymous';
  /** The client's, user's or process's id. */
  id: string;
  /** Of the key that a client showed. */
  keyId?: string;
  scopes: readonly string[];
};

/** What a signed request says besides its body. */
export type SignedContext = {
  viewer: Viewer;
  requestId: string;
  /** The caller's id of what the request is a part of; the request's own when there is none. */
  correlationId?: string;
  /** The IP address that the request came from; left out when a process of ours asks for itself. */
  address?: string;
  /** The trace that it belongs to (W3C Trace Context). */
  trace?: Trace;
  /** How long its answer is waited for, milliseconds from when it was sent: clocks of two machines differ. */
  timeoutMs?: number;
};

const SKEW_MS = 30_000;
/** Milliseconds since 1970. What is not a number is neither too old nor too new, so every comparison would let it by. */
const TIME = /^\d{1,15}$/;

/**
 * Headers that prove who sends a request, to which service, for whom, and that nobody changed it. HMAC-SHA256 over the callee's
 * name, method, path, time, nonce, context and body digest, with a key derived from the callee's secret and the caller's name.
 */
export function signRequest(
  request: RequestParts,
  context: SignedContext,
  { caller, callee }: { caller: string; callee: string },
  secrets: string,
): Record<string, string> {
  const time = String(Date.now());
  const nonce = randomUUID();
  const encoded = Buffer.from(JSON.stringify(context)).toString('base64url');
  const [key] = toRing(secrets);
  return {
    'x-herald-key': key.id,
    'x-herald-caller': caller,
    'x-herald-time': time,
    'x-herald-nonce': nonce,
    'x-herald-context': encoded,
    'x-herald-signature': macOf(request, { caller, callee, time, nonce, encoded }, key.secret).toString('base64url'),
  };
}

/**
 * Checks signed requests for one process; it remembers nonces, so keep one for its life.
 * @param callee its name: what was signed for another service is not for it, even with the same secret
 */
export function createVerifier(callee: string, secrets: string) {
  const ring = toRing(secrets);
  let recent = new Set<string>();
  let older = new Set<string>();
  let turnedAt = Date.now();

  /** False when the nonce was seen within the time a signature is valid. */
  const isFresh = (nonce: string) => {
    if (Date.now() - turnedAt > 2 * SKEW_MS) {
      older = recent;
      recent = new Set();
      turnedAt = Date.now();
    }
    if (recent.has(nonce) || older.has(nonce)) return false;
    recent.add(nonce);
    return true;
  };

  /** @returns the context, or a sentence on why the request is not trusted */
  return (request: RequestParts, headers: Record<string, string | string[] | undefined>): SignedContext | string => {
    const get = (name: string) => {
      const value = headers[`x-herald-${name}`];
      return typeof value === 'string' ? value : '';
    };
    const [caller, time, nonce, encoded] = [get('caller'), get('time'), get('nonce'), get('context')];
    const signature = Buffer.from(get('signature'), 'base64url');
    if (signature.length === 0) return 'the request is not signed';
    const key = ring.find(({ id }) => id === get('key'));
    if (key === undefined)
      return 'it is signed with a secret that is not known here: caller and callee hold different ones';
    const expected = macOf(request, { caller, callee, time, nonce, encoded }, key.secret);
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
      return 'the signature does not fit: the request was changed, or is for another service';
    }
    if (!TIME.test(time)) return 'its time is no number of milliseconds';
    if (Math.abs(Date.now() - Number(time)) > SKEW_MS)
      return 'the signature is older than 30 s: compare the clocks of the two machines';
    if (!isFresh(nonce)) return 'the request was sent before';
    // Signed by one who holds the secret, so the shape is ours.
    return JSON.parse(Buffer.from(encoded, 'base64url').toString()) as SignedContext;
  };
}

const macOf = (
  request: RequestParts,
  signed: { caller: string; callee: string; time: string; nonce: string; encoded: string },
  secret: string,
) =>
  createHmac('sha256', createHmac('sha256', secret).update(signed.caller).digest())
    .update([signed.callee, request.method, request.path, signed.time, signed.nonce, signed.encoded].join('\n'))
    .update(createHash('sha256').update(request.body).digest())
    .digest();

type RequestParts = { method: string; path: string; body: string | Buffer };
