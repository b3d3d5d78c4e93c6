import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import { once } from 'node:events';
import webPush from 'web-push';
import type { DeviceMessage, PushToken } from '../../contracts/message.ts';
import type { Provider } from '../../workers/provider.ts';
import { createFcmProvider } from '../../workers/push/fcm.ts';
import { createOneSignalProvider } from '../../workers/push/onesignal.ts';
import { createWebPushProvider } from '../../workers/push/webpush.ts';
import { createCertificate } from '../fakes/certificate.ts';
import { startFcmFake, type FcmFake } from '../fakes/fcm.ts';
import { startOneSignalFake } from '../fakes/onesignal.ts';
import type { Step } from '../fakes/script.ts';
import { startWebPushFake } from '../fakes/web-push.ts';
import { createTestLogger } from '../test-log.ts';

/** One push provider and the fake of its service, in words that are the same for all. */
export type Lane = {
  /** @param options.port of another server than the fake's */
  create(options?: { timeoutMs?: number; port?: number }): Provider<DeviceMessage>;
  /** The same with credentials that are not good, and what `check` says about them. */
  createWrong(): { provider: Provider<DeviceMessage>; says: RegExp }[];
  newDevice(port?: number): PushToken;
  script(token: PushToken, ...steps: Step[]): void;
  requests(token: PushToken): number;
  /** What devices got, in the provider's own shape. */
  accepted(token: PushToken): unknown[];
  /** What must never be in a reason, though the service says it. */
  secrets(): string[];
  /** How many connections there were so far. */
  connections(): number;
  /** How many are open now. */
  open(): number;
  /** How many wait for an answer that never comes. */
  hanging(): number;
  stop(): Promise<void>;
};

const TIMEOUT_MS = 2_000;

export type FcmLane = Lane & { fake: FcmFake };

export async function startFcmLane(): Promise<FcmLane> {
  const certificate = await createCertificate();
  const fake = await startFcmFake(certificate);
  const create = (
    serviceAccount: Parameters<typeof createFcmProvider>[0]['serviceAccount'],
    { timeoutMs = TIMEOUT_MS, port }: { timeoutMs?: number; port?: number } = {},
  ) =>
    createFcmProvider({
      serviceAccount,
      baseUrl: port === undefined ? fake.url : `https://127.0.0.1:${port}`,
      timeoutMs,
      ca: certificate.cert,
      log: createTestLogger('push-worker'),
    });
  return {
    fake,
    create: (options) => create(fake.serviceAccount, options),
    createWrong: () => [
      {
        provider: create({ ...fake.serviceAccount, private_key: 'not a key' }),
        says: /not a PEM key.*FCM_SERVICE_ACCOUNT/,
      },
      { provider: create({ ...fake.serviceAccount, token_uri: 'nowhere' }), says: /the token_uri .* is not a URL/ },
      { provider: create({ ...fake.serviceAccount, client_email: 'nobody@example.com' }), says: /invalid_grant/ },
      { provider: create({ ...fake.serviceAccount, project_id: 'another' }), says: /NOT_FOUND.*project another/ },
    ],
    newDevice: () => ({ id: randomUUID(), kind: 'fcm', token: `${randomUUID()}:APA91b${randomUUID()}` }),
    script: ({ token }, ...steps) => fake.script.set(token, ...steps),
    requests: ({ token }) => fake.script.requests(token),
    accepted: ({ token }) => fake.accepted(token),
    secrets: () => [fake.serviceAccount.private_key],
    connections: fake.connections,
    open: fake.open,
    hanging: fake.hanging,
    stop: fake.stop,
  };
}

export async function startWebPushLane(): Promise<Lane> {
  const certificate = await createCertificate();
  const fake = await startWebPushFake(certificate);
  const keys = webPush.generateVAPIDKeys();
  const subject = 'mailto:ops@example.com';
  const create = ({
    timeoutMs = TIMEOUT_MS,
    port,
    ...vapid
  }: Partial<typeof keys & { subject: string; timeoutMs: number; port: number }> = {}) =>
    createWebPushProvider({
      subject,
      ...keys,
      ...vapid,
      allowedHosts: [port === undefined ? fake.host : `127.0.0.1:${port}`],
      timeoutMs,
      ca: certificate.cert,
    });
  const devices = new Map<string, string>();
  return {
    create,
    createWrong: () => [
      {
        provider: create({ publicKey: webPush.generateVAPIDKeys().publicKey }),
        says: /does not belong to VAPID_PRIVATE_KEY/,
      },
      { provider: create({ privateKey: 'short' }), says: /VAPID_PRIVATE_KEY must be base64url/ },
      { provider: create({ subject: 'ops@example.com' }), says: /VAPID_SUBJECT must be/ },
    ],
    newDevice(port) {
      const { device, subscription } = fake.subscribe(keys.publicKey);
      const token = port === undefined ? subscription : subscription.replace(fake.host, `127.0.0.1:${port}`);
      devices.set(token, device);
      return { id: randomUUID(), kind: 'webpush', token };
    },
    script: ({ token }, ...steps) => fake.script.set(devices.get(token) ?? '', ...steps),
    requests: ({ token }) => fake.script.requests(devices.get(token) ?? ''),
    accepted: ({ token }) => fake.accepted(devices.get(token) ?? ''),
    secrets: () => [keys.privateKey],
    connections: fake.connections,
    open: fake.open,
    hanging: fake.hanging,
    stop: fake.stop,
  };
}

export async function startOneSignalLane(): Promise<Lane> {
  const fake = await startOneSignalFake();
  const create = ({
    timeoutMs = TIMEOUT_MS,
    port,
    appId = fake.appId,
    apiKey = fake.apiKey,
  }: Partial<{ timeoutMs: number; port: number; appId: string; apiKey: string }> = {}) =>
    createOneSignalProvider({
      appId,
      apiKey,
      baseUrl: port === undefined ? fake.url : `http://127.0.0.1:${port}`,
      timeoutMs,
    });
  return {
    create,
    createWrong: () => [
      { provider: create({ apiKey: 'os_v2_app_wrong' }), says: /403 .*Access denied.*ONESIGNAL_API_KEY/ },
      { provider: create({ appId: randomUUID() }), says: /app_id not found.*ONESIGNAL_APP_ID/ },
    ],
    newDevice: () => ({ id: randomUUID(), kind: 'onesignal', token: randomUUID() }),
    script: ({ token }, ...steps) => fake.script.set(token, ...steps),
    requests: ({ token }) => fake.script.requests(token),
    accepted: ({ token }) => fake.accepted(token),
    secrets: () => [fake.apiKey],
    connections: fake.connections,
    open: fake.open,
    hanging: fake.hanging,
    stop: fake.stop,
  };
}

/** Starts a server that hangs up on everyone before TLS is up, or takes no connection at all. @returns its port */
export async function startDeadEnd(kind: 'refuses' | 'hangs up'): Promise<{ port: number; stop(): Promise<void> }> {
  const server = createServer((socket) => void socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const stop = async () => {
    if (!server.listening) return;
    server.close();
    await once(server, 'close');
  };
  if (kind === 'refuses') await stop();
  return { port, stop };
}
