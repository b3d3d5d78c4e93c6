import {
  createDecipheriv,
  createECDH,
  createPublicKey,
  hkdfSync,
  randomBytes,
  randomUUID,
  verify,
  type ECDH,
} from 'node:crypto';
import { z } from 'zod';
import { createScript, type Script } from './script.ts';
import { follow, startFakeServer, type FakeRequest, type FakeServer, type Reply } from './server.ts';

/** What the device read, and how the push service was told to treat it. */
export type PushedMessage = { payload: string; ttl: string; topic: string | null; urgency: string | null };

export type WebPushFake = FakeServer & {
  /** As part of a list of allowed hosts. */
  host: string;
  /** Subscribes a new device. @param publicKey who alone may send to it, VAPID */
  subscribe(publicKey: string): { device: string; subscription: string };
  script: Script;
  accepted(device: string): PushedMessage[];
};

type Device = { ecdh: ECDH; auth: Buffer; publicKey: string; accepted: PushedMessage[] };

const LIMIT_BYTES = 4_096;
const DAY_SECONDS = 24 * 60 * 60;

/** Starts a push service (RFC 8030) with TLS, whose devices decrypt what they are sent (RFC 8291) from who may send (RFC 8292). */
export async function startWebPushFake(certificate: { key: string; cert: string }): Promise<WebPushFake> {
  const script = createScript();
  const devices = new Map<string, Device>();

  const handle = (request: FakeRequest): Reply => {
    const id = /^\/push\/([\w-]+)$/.exec(request.path)?.[1] ?? '';
    const device = devices.get(id);
    if (request.method !== 'POST' || device === undefined) return { status: 404 };
    return faultOf(request, device) ?? follow(script, id, request, () => push(request, device));
  };

  const faultOf = ({ headers, body }: FakeRequest, device: Device): Reply | null => {
    const fault = faultOfVapid(headers.authorization ?? '', `https://${host}`);
    if (fault !== null) return { status: 401, body: { errno: 109, message: fault } };
    if (!(headers.authorization ?? '').endsWith(`k=${device.publicKey}`))
      return { status: 403, body: 'the VAPID credentials do not correspond to those of the subscription' };
    if (!/^\d+$/.test(String(headers.ttl))) return { status: 400, body: { errno: 111, message: 'TTL is required' } };
    const { topic, urgency = 'normal' } = headers;
    if (topic !== undefined && !/^[A-Za-z0-9_-]{1,32}$/.test(String(topic)))
      return { status: 400, body: { errno: 113, message: 'invalid Topic' } };
    if (!['very-low', 'low', 'normal', 'high'].includes(String(urgency)))
      return { status: 400, body: { message: 'invalid Urgency' } };
    if (headers['content-encoding'] !== 'aes128gcm')
      return { status: 400, body: { errno: 110, message: 'unknown Content-Encoding' } };
    return body.length > LIMIT_BYTES ? { status: 413, body: { errno: 104, message: 'too large' } } : null;
  };

  const push = ({ headers, body }: FakeRequest, device: Device): Reply => {
    const { ttl, topic = null, urgency = null } = headersSchema.parse(headers);
    // A real push service can't read it; the device would drop what it can't decrypt.
    device.accepted.push({ payload: decrypt(body, device), ttl, topic, urgency });
    return { status: 201, headers: { location: `https://${host}/message/${randomUUID()}` } };
  };

  const server = await startFakeServer(handle, certificate);
  const host = `127.0.0.1:${server.port}`;
  return {
    host,
    script,
    subscribe(publicKey) {
      const device = randomUUID();
      const ecdh = createECDH('prime256v1');
      const auth = randomBytes(16);
      devices.set(device, { ecdh, auth, publicKey, accepted: [] });
      const keys = { p256dh: ecdh.generateKeys('base64url'), auth: auth.toString('base64url') };
      const subscription = JSON.stringify({ endpoint: `https://${host}/push/${device}`, expirationTime: null, keys });
      return { device, subscription };
    },
    accepted: (device) => devices.get(device)?.accepted ?? [],
    ...server,
  };
}

/** RFC 8292: a token signed with ES256 by the key beside it, for this origin, for at most a day, with a contact. */
function faultOfVapid(authorization: string, origin: string): string | null {
  const [, head = '', claims = '', signature = '', key = ''] =
    /^vapid t=([\w-]+)\.([\w-]+)\.([\w-]+), k=([\w-]+)$/.exec(authorization) ?? [];
  if (key === '') return 'no VAPID';
  const isSigned = verify(
    'sha256',
    Buffer.from(`${head}.${claims}`),
    { key: toPublicKey(Buffer.from(key, 'base64url')), dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  if (!isSigned) return 'the signature is wrong';
  const now = Date.now() / 1_000;
  const { error } = z
    .object({
      aud: z.literal(origin),
      exp: z
        .number()
        .min(now)
        .max(now + DAY_SECONDS),
      sub: z.string().regex(/^(mailto|https):/),
    })
    .safeParse(JSON.parse(Buffer.from(claims, 'base64url').toString()));
  return error?.message ?? null;
}

/** RFC 8291, section 3.4 and RFC 8188: one record, header first. */
function decrypt(body: Buffer, { ecdh, auth }: Device): string {
  const salt = body.subarray(0, 16);
  const recordSize = body.readUInt32BE(16);
  const idLength = body.readUInt8(20);
  const senderKey = body.subarray(21, 21 + idLength);
  const record = body.subarray(21 + idLength);
  if (record.length > recordSize) throw new Error('more than one record');

  const info = Buffer.concat([Buffer.from('WebPush: info\0'), ecdh.getPublicKey(), senderKey]);
  const ikm = Buffer.from(hkdfSync('sha256', ecdh.computeSecret(senderKey), auth, info, 32));
  const key = Buffer.from(hkdfSync('sha256', ikm, salt, 'Content-Encoding: aes128gcm\0', 16));
  const nonce = Buffer.from(hkdfSync('sha256', ikm, salt, 'Content-Encoding: nonce\0', 12));
  const decipher = createDecipheriv('aes-128-gcm', key, nonce);
  decipher.setAuthTag(record.subarray(-16));
  const padded = Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()]);
  const end = padded.lastIndexOf(2);
  if (end < 0 || padded.subarray(end + 1).some((byte) => byte !== 0)) throw new Error('no delimiter of a last record');
  return padded.subarray(0, end).toString();
}

/** A point of P-256 as a key. */
const toPublicKey = (point: Buffer) =>
  createPublicKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-256',
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url'),
    },
  });

const headersSchema = z.object({ ttl: z.string(), topic: z.string().optional(), urgency: z.string().optional() });
