import { generateKeyPairSync, randomUUID, verify } from 'node:crypto';
import { z } from 'zod';
import { createScript, type Script, type Step } from './script.ts';
import { follow, startFakeServer, type FakeRequest, type FakeServer, type Reply } from './server.ts';

/** What FCM was given, in its own field names. */
export type FcmMessage = z.infer<typeof messageSchema>;

export type FcmFake = FakeServer & {
  url: string;
  /** An account that may send, whose tokens come from here too. */
  serviceAccount: { project_id: string; client_email: string; private_key: string; token_uri: string };
  script: Script;
  /** The messages that were accepted, dry runs apart. */
  accepted(token: string): FcmMessage[];
  dryRuns(): FcmMessage[];
  /** What the next requests for an access token meet; without it they get one. */
  scriptTokens(...steps: Step[]): void;
  tokenRequests(): number;
  /** The access tokens that it gave out. */
  accessTokens(): string[];
};

const PROJECT = 'herald-test';
const CLIENT_EMAIL = 'sender@herald-test.iam.gserviceaccount.com';
const TOKENS = 'access tokens';
const LIMIT_BYTES = 4_096;

/** Starts FCM's HTTP v1 `messages:send` and Google's token endpoint, with TLS. */
export async function startFcmFake(certificate: { key: string; cert: string }): Promise<FcmFake> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const script = createScript();
  const accepted: FcmMessage[] = [];
  const dryRuns: FcmMessage[] = [];
  const accessTokens: string[] = [];

  const handle = (request: FakeRequest): Reply => {
    if (request.path === '/token') return follow(script, TOKENS, request, () => grant(request));
    if (request.method !== 'POST' || request.path !== `/v1/projects/${PROJECT}/messages:send`)
      return refuse(404, 'NOT_FOUND', 'Requested entity was not found.');
    const [, bearer = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
    if (!accessTokens.includes(bearer))
      return refuse(401, 'UNAUTHENTICATED', 'Request had invalid authentication credentials.');
    return takeMessage(request);
  };

  const takeMessage = (request: FakeRequest): Reply => {
    const { success, data, error } = requestSchema.safeParse(JSON.parse(request.body.toString()));
    if (!success) return refuseFields(error);
    const { message, validate_only: isDryRun = false } = data;
    const accept = (): Reply => {
      if (sizeOf(message) > LIMIT_BYTES)
        return refuse(400, 'INVALID_ARGUMENT', 'The message is too big.', 'INVALID_ARGUMENT');
      (isDryRun ? dryRuns : accepted).push(message);
      const id = isDryRun ? 'fake_message_id' : randomUUID();
      return { status: 200, body: { name: `projects/${PROJECT}/messages/${id}` } };
    };
    return follow(script, message.token ?? message.topic ?? '', request, accept);
  };

  const grant = ({ body }: FakeRequest): Reply => {
    const form = new URLSearchParams(body.toString());
    const [head = '', claims = '', signature = ''] = (form.get('assertion') ?? '').split('.');
    const isSigned = verify(
      'RSA-SHA256',
      Buffer.from(`${head}.${claims}`),
      publicKey,
      Buffer.from(signature, 'base64url'),
    );
    const now = Date.now() / 1_000;
    const { success } = claimsSchema(`${url}/token`, now).safeParse(
      JSON.parse(Buffer.from(claims, 'base64url').toString() || 'null'),
    );
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer' || !isSigned || !success)
      return { status: 400, body: { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' } };
    const token = `ya29.${randomUUID()}`;
    accessTokens.push(token);
    return { status: 200, body: { access_token: token, expires_in: 3_599, token_type: 'Bearer' } };
  };

  const server = await startFakeServer(handle, certificate);
  const url = `https://127.0.0.1:${server.port}`;
  return {
    url,
    serviceAccount: {
      project_id: PROJECT,
      client_email: CLIENT_EMAIL,
      private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      token_uri: `${url}/token`,
    },
    script,
    accepted: (token) => accepted.filter((message) => message.token === token),
    dryRuns: () => dryRuns,
    scriptTokens: (...steps) => script.set(TOKENS, ...steps),
    tokenRequests: () => script.requests(TOKENS),
    accessTokens: () => accessTokens,
    ...server,
  };
}

/** An error in Google's form. @param errorCode FCM's own code among the details */
export const refuse = (code: number, status: string, message: string, errorCode?: string) => ({
  status: code,
  body: {
    error: {
      code,
      message,
      status,
      details:
        errorCode === undefined ? [] : [{ '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode }],
    },
  },
});

function refuseFields({ issues }: z.ZodError): Reply {
  const fieldViolations = issues.map(({ path, message }) => ({ field: path.join('.'), description: message }));
  const description = fieldViolations.map((violation) => `${violation.field}: ${violation.description}`).join('; ');
  return {
    status: 400,
    body: {
      error: {
        code: 400,
        message: `Invalid JSON payload received. ${description}`,
        status: 'INVALID_ARGUMENT',
        details: [{ '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations }],
      },
    },
  };
}

/** Keys and values of what travels. */
const sizeOf = ({ notification = {}, data = {} }: FcmMessage) =>
  [...Object.entries(notification), ...Object.entries(data)].reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );

const claimsSchema = (audience: string, now: number) =>
  z.object({
    iss: z.literal(CLIENT_EMAIL),
    aud: z.literal(audience),
    scope: z.string().includes('https://www.googleapis.com/auth/firebase.messaging'),
    iat: z.number().max(now + 60),
    exp: z
      .number()
      .min(now)
      .max(now + 3_660),
  });

/** The Message of FCM's HTTP v1 (firebase.google.com, REST Resource: projects.messages), as JSON of protobuf: snake or camel case. */
const texts = z.record(z.string(), z.string());
const analytics = { analytics_label: z.string().optional(), analyticsLabel: z.string().optional() };
const androidNotification = z.strictObject({
  title: z.string().optional(),
  body: z.string().optional(),
  icon: z.string().optional(),
  color: z.string().optional(),
  sound: z.string().optional(),
  tag: z.string().optional(),
  click_action: z.string().optional(),
  channel_id: z.string().optional(),
  image: z.string().optional(),
});
const dataKey = z.string().regex(/^(?!from$|gcm|google)/, 'is a reserved key');
const messageSchema = z.strictObject({
  token: z.string().min(1).optional(),
  topic: z.string().min(1).optional(),
  data: z.record(dataKey, z.string()).optional(),
  notification: z
    .strictObject({ title: z.string().optional(), body: z.string().optional(), image: z.string().optional() })
    .optional(),
  android: z
    .strictObject({
      collapse_key: z.string().optional(),
      priority: z.enum(['NORMAL', 'HIGH', 'normal', 'high']).optional(),
      ttl: z
        .string()
        .regex(/^\d+(\.\d+)?s$/)
        .refine((ttl) => parseFloat(ttl) <= 2_419_200, 'is longer than four weeks')
        .optional(),
      restricted_package_name: z.string().optional(),
      data: texts.optional(),
      notification: androidNotification.optional(),
      direct_boot_ok: z.boolean().optional(),
      fcmOptions: z.strictObject(analytics).optional(),
    })
    .optional(),
  apns: z
    .strictObject({
      headers: texts.optional(),
      payload: z.looseObject({ aps: z.looseObject({}).optional() }).optional(),
      fcmOptions: z.strictObject({ ...analytics, image: z.string().optional() }).optional(),
      live_activity_token: z.string().optional(),
    })
    .optional(),
  webpush: z
    .strictObject({
      headers: texts.optional(),
      data: texts.optional(),
      notification: z.looseObject({}).optional(),
      fcmOptions: z.strictObject({ ...analytics, link: z.string().startsWith('https://').optional() }).optional(),
    })
    .optional(),
  fcm_options: z.strictObject(analytics).optional(),
});
const requestSchema = z.strictObject({
  message: messageSchema.refine(
    ({ token, topic }) => (token === undefined) !== (topic === undefined),
    'needs one recipient',
  ),
  validate_only: z.boolean().optional(),
});
