import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { json } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { StatusReport } from '../contracts/report.ts';
import { createPool, type Pool } from '../platform/postgres.ts';
import { createClaims } from '../workers/claims.ts';
import { createReporter } from '../workers/report.ts';
import { createTestLogger } from './test-log.ts';

let gateway: Server;
let reports: StatusReport[];
let pool: Pool;
let reporter: ReturnType<typeof createReporter>;

beforeEach(async () => {
  reports = [];
  gateway = createServer((request, response) => {
    void json(request).then((body) => {
      const list = body as StatusReport[];
      reports.push(...list);
      response.end(JSON.stringify(list.map(({ notification_id }) => ({ notification_id, code: 200 }))));
    });
  });
  await once(gateway.listen(0, '127.0.0.1'), 'listening');
  const address = gateway.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const log = createTestLogger('email-worker');
  pool = createPool('postgresql://nobody@127.0.0.1:1/never_asked', { max: 1, log });
  reporter = createReporter({
    type: 'email',
    gatewayUrl: `http://127.0.0.1:${port}`,
    apiKey: 'the-key-of-the-workers',
    claims: createClaims('email', pool, 30),
    log,
    signal: new AbortController().signal,
  });
});
afterEach(async () => {
  await reporter.stop();
  await pool.end();
  gateway.close();
});

test.each([
  [120, 120],
  [0.2, 1],
  [1e12, 86_400],
  [-5, 0],
])('a pause of %d s that a provider asks for is reported as %i s', async (retryAfterSeconds, expected) => {
  await reporter.report(
    {
      id: 'n',
      token: 1,
      type: 'email',
      userId: 'u',
      contactVersion: 1,
      isExpired: false,
      isSuppressed: false,
      unreachable: null,
      settled: null,
      correlationId: null,
      message: null,
    },
    {
      class: 'transient',
      reason: 'busy',
      retryAfterSeconds,
      provider: 'smtp',
      providerMessageId: null,
      results: null,
      hasAttempt: true,
    },
  );
  expect(reports).toMatchObject([{ attempt: { retry_after_seconds: expected } }]);
});
