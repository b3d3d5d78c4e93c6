import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { createScript, type Script } from './script.ts';
import { follow, startFakeServer, type FakeRequest, type FakeServer, type Reply } from './server.ts';

export type OneSignalNotification = z.infer<typeof notificationSchema>;

export type OneSignalFake = FakeServer & {
  url: string;
  appId: string;
  apiKey: string;
  script: Script;
  /** The notifications that were created; a repetition of one is not. */
  accepted(subscriptionId: string): OneSignalNotification[];
};

const LIMIT_BYTES = 2_048;

/** Starts OneSignal's `POST /notifications`, idempotent by key for the life of the fake, and `GET /notifications`. */
export async function startOneSignalFake(): Promise<OneSignalFake> {
  const appId = randomUUID();
  const apiKey = `os_v2_app_${randomUUID()}`;
  const script = createScript();
  const accepted: OneSignalNotification[] = [];
  const created = new Map<string, string>();

  const handle = (request: FakeRequest): Reply => {
    const url = new URL(request.path, 'http://fake');
    if (url.pathname !== '/notifications') return { status: 404, body: { errors: ['Not Found'] } };
    if (request.headers.authorization !== `Key ${apiKey}`)
      return { status: 403, body: { errors: ["Access denied. Please include an 'Authorization: ...' header."] } };
    if (request.method === 'GET') {
      return url.searchParams.get('app_id') === appId
        ? { status: 200, body: { total_count: 0, offset: 0, limit: 1, notifications: [] } }
        : { status: 400, body: { errors: ['app_id not found'] } };
    }
    const { success, data, error } = notificationSchema.safeParse(JSON.parse(request.body.toString()));
    if (!success)
      return {
        status: 400,
        body: { errors: error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) },
      };
    if (data.app_id !== appId) return { status: 400, body: { errors: ['app_id not found'] } };
    return follow(script, data.include_subscription_ids[0] ?? '', request, () => create(data));
  };

  const create = (notification: OneSignalNotification): Reply => {
    const known = created.get(notification.idempotency_key);
    if (known !== undefined)
      return { status: 200, headers: { 'idempotent-replayed': 'true' }, body: { id: known, external_id: null } };
    const id = randomUUID();
    created.set(notification.idempotency_key, id);
    accepted.push(notification);
    return { status: 200, body: { id, external_id: null } };
  };

  const server = await startFakeServer(handle);
  return {
    url: `http://127.0.0.1:${server.port}`,
    appId,
    apiKey,
    script,
    accepted: (id) => accepted.filter((notification) => notification.include_subscription_ids.includes(id)),
    ...server,
  };
}

/** The push part of OneSignal's Notification (documentation.onesignal.com, Push notification); unlike there, a key is required. */
const text = z.string().optional();
const localised = z.looseObject({ en: z.string() });
const notificationSchema = z.strictObject({
  app_id: z.uuid(),
  target_channel: z.literal('push').optional(),
  include_subscription_ids: z.array(z.uuid()).min(1).max(20_000),
  idempotency_key: z.uuid(),
  contents: localised,
  headings: localised.optional(),
  subtitle: localised.optional(),
  name: text,
  data: z
    .record(z.string(), z.unknown())
    .refine((data) => Buffer.byteLength(JSON.stringify(data)) <= LIMIT_BYTES, `is larger than ${LIMIT_BYTES} bytes`)
    .optional(),
  url: z.url().optional(),
  web_url: text,
  app_url: text,
  big_picture: text,
  chrome_web_image: text,
  huawei_big_picture: text,
  adm_big_picture: text,
  ios_attachments: z.record(z.string(), z.string()).optional(),
  small_icon: text,
  large_icon: text,
  android_channel_id: text,
  collapse_id: z
    .string()
    .refine((id) => Buffer.byteLength(id) <= 64, 'is longer than 64 bytes')
    .optional(),
  web_push_topic: z.string().max(32).optional(),
  ttl: z.int().min(0).max(2_419_200).optional(),
  priority: z.union([z.literal(5), z.literal(10)]).optional(),
  send_after: text,
  thread_id: text,
});
