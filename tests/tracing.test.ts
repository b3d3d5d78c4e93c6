import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTracer } from '../platform/tracing.ts';
import { givenSent, givenTemplate, givenUser, readNotification, sendBody } from './given.ts';
import { startScriptedSmtp, type ScriptedSmtp } from './scripted-smtp.ts';
import { brokerKinds, startHerald, type Herald } from './start.ts';
import { createTestLogger, logged } from './test-log.ts';
import { until } from './until.ts';
import { watch } from './watch.ts';

type Attribute = { key: string; value: { stringValue?: string; intValue?: number | string } };
type Span = {
  service: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  attributes: Attribute[];
  status?: { code?: number; message?: string };
};

/** A collector: OTLP over HTTP, as JSON. */
async function startCollector() {
  const spans: Span[] = [];
  const server: Server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    request.on('end', () => {
      const { resourceSpans } = JSON.parse(text) as {
        resourceSpans: { resource: { attributes: Attribute[] }; scopeSpans: { spans: Omit<Span, 'service'>[] }[] }[];
      };
      for (const { resource, scopeSpans } of resourceSpans) {
        const service = resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue ?? '';
        spans.push(...scopeSpans.flatMap((scope) => scope.spans).map((span) => ({ ...span, service })));
      }
      response.setHeader('content-type', 'application/json').end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    spans,
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

describe.each(brokerKinds)('with %s', (broker) => {
  let collector: Awaited<ReturnType<typeof startCollector>>;
  let smtp: ScriptedSmtp;
  let herald: Herald;
  beforeAll(async () => {
    [collector, smtp] = await Promise.all([startCollector(), startScriptedSmtp()]);
    herald = await startHerald({ broker, smtpUrl: smtp.url, tracing: { endpoint: collector.endpoint, share: 1 } });
  });
  afterAll(async () => {
    await herald?.stop();
    await Promise.all([collector?.stop(), smtp?.stop()]);
  });

  test('a send is one trace, from the client to the subscriber', async () => {
    const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
    const watched = watch(herald, `(userId: "${user}")`);
    await until(async () =>
      /^herald_subscribers\S* 1$/m.test(String((await herald.rest('GET', `${herald.url}/metrics`)).body)),
    );
    const [traceId, clientSpan] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
    const sent = await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template), {
      traceparent: `00-${traceId}-${clientSpan}-01`,
    });
    expect(sent.status).toBe(202);
    await until(() => watched.events.some(({ status }) => status === 'DELIVERED'));

    const expected = [
      'gateway: POST /api/v1/notifications/',
      'notification: notification POST /graphql',
      'user: user POST /graphql',
      'template: template POST /graphql',
      'notification: publish email',
      'email-worker: deliver email',
      'email-worker: send by smtp',
      'email-worker: report',
      'notification: status delivered',
      'gateway: subscription event pending',
      'gateway: subscription event delivered',
    ];
    const mine = () => collector.spans.filter((span) => span.traceId === traceId);
    const names = () => mine().map(({ service, name }) => `${service}: ${name}`);
    await until(() => expected.every((name) => names().includes(name)), { timeoutMs: 10_000 }).catch(() => {});
    expect(names()).toEqual(expect.arrayContaining(expected));

    // Each step is a part of another one, and the first of the client's.
    const ids = new Set([clientSpan, ...mine().map(({ spanId }) => spanId)]);
    for (const { name, parentSpanId = 'none' } of mine()) expect(ids, name).toContain(parentSpanId);
    const parentOf = (name: string) => {
      const span = mine().find((one) => one.name === name);
      return mine().find(({ spanId }) => spanId === span?.parentSpanId)?.name;
    };
    expect([parentOf('send by smtp'), parentOf('deliver email'), parentOf('publish email')]).toEqual([
      'deliver email',
      'publish email',
      'notification POST /graphql',
    ]);
    // A trace is for engineers: who is written to, and what, is none of it.
    const text = JSON.stringify(collector.spans);
    for (const secret of ['example.com', 'Ada', herald.adminApiKey]) expect(text).not.toContain(secret);
    await watched.stop();
  });

  test('what a provider says of an address stays out of it: a step that failed says how, by its class', async () => {
    const address = `lovelace-${randomBytes(8).toString('hex')}@example.com`;
    const user = await givenUser(herald, { email: address });
    smtp.script(address, { toRecipient: `550 5.1.1 <${address}>: no such user` });
    const id = await givenSent(herald, user, await givenTemplate(herald));
    await until(async () => (await readNotification(herald, id)).status === 'failed');
    const steps = ['deliver email', 'send by smtp'];
    const failed = () => collector.spans.filter(({ name, status }) => steps.includes(name) && status?.code === 2);
    await until(() => failed().length === steps.length, { timeoutMs: 10_000 });
    expect(failed().map(({ status }) => status?.message)).toEqual(['address_dead', 'address_dead']);
    expect(JSON.stringify(collector.spans)).not.toContain('example.com');
  });

  test('whoever does not want to be traced is not', async () => {
    const traceId = randomBytes(16).toString('hex');
    const headers = { traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-00` };
    await herald.rest('GET', '/api/v1/notifications/', undefined, headers);
    await herald.rest('GET', '/api/v1/notifications/');
    const before = collector.spans.length;
    await until(() => collector.spans.length > before || collector.spans.some(({ name }) => name.startsWith('GET')));
    expect(collector.spans.filter((span) => span.traceId === traceId)).toEqual([]);
  });
});

test('a collector that is away, or never answers, holds no stop up and fails none', async () => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const endpoints = ['http://127.0.0.1:1', `http://127.0.0.1:${(silent.address() as AddressInfo).port}`];
  for (const [place, endpoint] of endpoints.entries()) {
    const service = `traced-${place}`;
    const tracer = await createTracer(service, { endpoint, share: 1 }, createTestLogger(service));
    tracer.start('a step', { parent: undefined }).end();
    const since = performance.now();
    await tracer.stop();
    expect(performance.now() - since).toBeLessThan(4_000);
    expect(logged().filter((line) => line['service'] === service)).toEqual([
      expect.objectContaining({ level: 'warn', msg: 'the collector did not take the last spans' }),
    ]);
  }
  silent.closeAllConnections();
  silent.close();
});

test('without a collector nothing of it is kept', async () => {
  const herald = await startHerald({ broker: 'embedded' });
  try {
    const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
    await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template));
    await herald.drained();
    expect(await herald.sql('notification', 'SELECT trace FROM content')).toEqual([{ trace: null }]);
  } finally {
    await herald.stop();
  }
});
