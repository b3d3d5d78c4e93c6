import type { FastifyRequest } from 'fastify';
import { readTrace } from './trace.ts';
import type { SignedContext, Viewer } from './trust.ts';

/** What a request from outside carries inward, once it is known who asks. */
export const toRequestContext = ({ id, ip, headers }: FastifyRequest, viewer: Viewer): SignedContext => ({
  viewer,
  requestId: id,
  address: ip,
  trace: readTrace(headers),
});
