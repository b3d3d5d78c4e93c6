import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createHttpServer, listen } from '../platform/http.ts';
import { givenTemplate, givenUser, sendBody } from './given.ts';
import { PARTS } from './herald-parts.ts';
import { startHerald, type Herald } from './start.ts';
import { createTestLogger, logged } from './test-log.ts';
import { until } from './until.ts';

const SEND = 'mutation ($input: SendNotificationInput!) { sendNotification(input: $input) { duplicate } }';

let herald: Herald;
beforeAll(async () => {
  herald = await startHerald({ broker: 'embedded' });
});
afterAll(() => herald?.stop());

describe('what is wrong with a request to /graphql is told as GraphQL tells it', () => {
  test.each<[string, string, Record<string, string>, number, string, RegExp]>([
    ['broken JSON', '{"query":', {}, 400, 'BAD_USER_INPUT', /not valid JSON/],
    ['no body', '', {}, 400, 'BAD_REQUEST', /body missing/],
    ['too large a body', JSON.stringify({ query: 'x'.repeat(3_000_000) }), {}, 413, 'PAYLOAD_TOO_LARGE', /larger than/],
    ['text', '{ me { id } }', { 'content-type': 'text/plain' }, 415, 'UNSUPPORTED_MEDIA_TYPE', /application\/json/],
    [
      'a form',
      'query=x',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
      'UNSUPPORTED_MEDIA_TYPE',
      /JSON/,
    ],
  ])('%s', async (_, body, headers, status, code, message) => {
    const requestId = randomUUID();
    const answer = await herald.rest('POST', '/graphql', body, { ...headers, 'x-request-id': requestId });
    expect({ status: answer.status, body: answer.body }).toEqual({
      status,
      body: { errors: [{ message: expect.stringMatching(message), extensions: { code, requestId } }] },
    });
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
  });

  test('and whoever shows no credential learns nothing of it', async () => {
    const answer = await herald.rest('POST', '/graphql', '{"query":', { authorization: undefined });
    expect(answer).toMatchObject({ status: 401, body: { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] } });
  });
});

test('an unexpected error is logged where it happened and at the gateway, with the ids of its request', async () => {
  const [user, template] = [await givenUser(herald), await givenTemplate(herald)];
  const [requestId, traceId] = [randomUUID(), randomBytes(16).toString('hex')];
  const headers = { 'x-request-id': requestId, traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01` };
  const input = {
    notificationType: 'EMAIL',
    userId: user,
    templateCode: template,
    requestId,
    variables: { name: 'Ada' },
    metadata: { odd: 1 },
  };
  await herald.sql('notification', `ALTER TABLE content ADD CONSTRAINT story CHECK (metadata->>'odd' IS NULL)`);
  const answers = [
    await herald.rest('POST', '/graphql', { query: SEND, variables: { input } }, headers),
    await herald.rest('POST', '/api/v1/notifications/', sendBody(user, template, { metadata: { odd: 1 } }), headers),
  ];
  await herald.sql('notification', 'ALTER TABLE content DROP CONSTRAINT story');
  expect(answers.map(({ status }) => status)).toEqual([200, 500]);
  const told = logged().filter(({ level }) => level === 'error');
  expect(told.map(({ service }) => service)).toEqual(['notification', 'gateway', 'notification', 'gateway']);
  for (const line of told) expect(line).toMatchObject({ requestId, traceId, err: expect.anything() });
});

describe('what is no HTTP', () => {
  const sockets: Socket[] = [];
  afterEach(() => sockets.splice(0).forEach((socket) => socket.destroy()));

  async function dial(port: number) {
    const socket = connect(port, '127.0.0.1');
    sockets.push(socket);
    await once(socket, 'connect');
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString()));
    const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => {});
    return { socket, ended, read: () => text };
  }

  test.each<[string, string, number]>([
    ['nonsense', 'what is this?\r\n\r\n', 400],
    ['a method that is none', 'FETCH / HTTP/1.1\r\nhost: x\r\n\r\n', 400],
    ['a header without a colon', 'GET /health HTTP/1.1\r\nhost x\r\n\r\n', 400],
    ['two lengths', 'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n', 400],
    [
      'a length and chunks',
      'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
      400,
    ],
    ['headers without end', `GET / HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(40_000)}\r\n\r\n`, 431],
  ])('(%s) is answered by every process, once, and only whispered of', async (_, bytes, status) => {
    for (const part of PARTS) {
      const { socket, ended, read } = await dial(Number(new URL(herald.urlOf(part)).port));
      socket.write(bytes);
      await ended;
      const [head = '', body = ''] = read().split('\r\n\r\n');
      expect(head, part).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      expect(head).toMatch(/\r\nconnection: close/);
      expect(head).toMatch(/\r\nx-content-type-options: nosniff/);
      const requestId = /\r\nx-request-id: (\S+)/.exec(head)?.[1];
      expect(JSON.parse(body)).toMatchObject({ status, request_id: requestId, detail: expect.any(String) });
    }
    expect(logged().filter(({ level }) => level !== 'debug')).toEqual([]);
    expect(logged().filter(({ msg }) => msg === 'refused what is not HTTP')).toHaveLength(PARTS.length);
  });

  test('breaks into no answer that is under way', async () => {
    const app = createHttpServer(createTestLogger('server'));
    app.get('/slow', (_request, reply) => {
      reply.raw.writeHead(200, { 'content-type': 'text/plain' });
      reply.raw.write('half');
      return reply.hijack();
    });
    const { socket, ended, read } = await dial(await listen(app, '127.0.0.1', 0));
    socket.write('GET /slow HTTP/1.1\r\nhost: x\r\n\r\n');
    await until(() => read().includes('half'));
    socket.write('what is this?\r\n\r\n');
    await ended;
    expect(read()).not.toContain('400');
    await app.close();
  });
});
