import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';

/**
 * Lets pages of these origins ask, and read the answers. No cookies: a credential is always a header that the page sets itself.
 * Must be registered before whatever asks for a credential.
 */
export async function registerCors(app: FastifyInstance, origins: string[]): Promise<void> {
  if (origins.length === 0) return;
  await app.register(cors, {
    origin: origins,
    credentials: false,
    methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowedHeaders: [
      'authorization',
      'x-api-key',
      'content-type',
      'idempotency-key',
      'if-none-match',
      'last-event-id',
      'x-request-id',
      'x-correlation-id',
      'traceparent',
      'apollo-require-preflight',
    ],
    exposedHeaders: [
      'etag',
      'link',
      'location',
      'x-request-id',
      'x-correlation-id',
      'ratelimit',
      'ratelimit-policy',
      'retry-after',
    ],
    maxAge: 600,
    strictPreflight: true,
  });
}
