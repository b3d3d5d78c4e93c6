import { afterAll, beforeAll, expect, test } from 'vitest';
import { NO_TRACING } from '../platform/tracing.ts';
import { toTopology, topologyNames } from '../contracts/topology.ts';
import { startGateway } from '../gateway/server.ts';
import { createEmbeddedBroker } from '../platform/broker/embedded.ts';
import { freePort } from './private-process.ts';
import { createTestLogger } from './test-log.ts';

const adminApiKey = 'the-key-of-the-admin';
const workerApiKey = 'the-key-of-the-workers';

const broker = createEmbeddedBroker({
  topology: toTopology(topologyNames('')),
  queueType: 'classic',
  log: createTestLogger('broker'),
});
let gateway: Awaited<ReturnType<typeof startGateway>>;
beforeAll(async () => {
  // Nobody listens there: what the gateway lets in is answered with "a service … is away".
  const service = { url: `http://127.0.0.1:${await freePort()}`, secret: '0123456789abcdef' };
  gateway = await startGateway(
    {
      host: '127.0.0.1',
      port: 0,
      tracing: NO_TRACING,
      services: { user: service, template: service, notification: service },
      adminApiKey,
      workerApiKey,
      jwtKeys: [{ id: 'intake', secret: 'x'.repeat(32) }],
      corsOrigins: [],
      trustedProxies: [],
      maxQueryCost: 10_000,
      introspection: true,
      trustedDocuments: { mode: 'off', path: null },
      requestTimeoutMs: 10_000,
      supergraph: { path: null, extraSubgraphs: {} },
      webhookKeys: { sendgrid: null, mailgun: null, onesignal: null, bounces: null },
      rates: { clientPerMinute: 0, userPerMinute: 0, addressPerMinute: 0 },
      redisUrl: '',
      amqpUrl: '',
      amqpPrefix: '',
      queueType: 'classic',
      subscriptions: { maxConnections: 10, maxConnectionsPerViewer: 10, maxPerConnection: 10 },
      cachePrefix: '',
      logLevel: 'info',
    },
    { broker, log: createTestLogger('gateway') },
  );
  gateway.refuseNew();
});
afterAll(async () => {
  await gateway?.stop();
  await broker.stop();
});

const post = async (path: string, key: string, body: object) => {
  const response = await fetch(`http://127.0.0.1:${gateway.port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as Answer };
};

type Answer = { detail?: string; errors?: unknown };

test('a gateway that takes nothing new sends clients away, until when, and closes their connections', async () => {
  const { status, headers, body } = await post('/api/v1/notifications/', adminApiKey, {});
  expect({ status, body }).toMatchObject({ status: 503, body: { detail: expect.stringContaining('stopping') } });
  expect(headers.get('retry-after')).toBe('5');
  expect(headers.get('connection')).toBe('close');
});

test('and tells GraphQL clients so in their own way', async () => {
  const { status, headers, body } = await post('/graphql', adminApiKey, { query: '{ __typename }' });
  expect(status).toBe(503);
  expect(headers.get('retry-after')).toBe('5');
  expect(body.errors).toMatchObject([
    { extensions: { code: 'UNAVAILABLE', retryAfterSeconds: 5, requestId: headers.get('x-request-id') } },
  ]);
});

test('a worker still gets its outcomes through', async () => {
  const report = [{ notification_id: 'n', status: 'delivered' }];
  const { body } = await post('/api/v1/email/status/', workerApiKey, report);
  expect(body.detail).toBe('a service that this needs is away');
});
