import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';
import { STATUS_OF, type Fault, type RefusalCode } from './refusal.ts';

/** Problem details (RFC 9457), the body of every REST error. */
export type Problem = {
  type: string;
  title: string;
  status: number;
  detail: string;
  request_id: string;
  errors: Fault[];
};

/** Answers with problem details. `faults` are already in the caller's spelling. */
export function sendProblem(
  reply: FastifyReply,
  { code, detail, faults = [], retryAfterSeconds }: ProblemInput,
): FastifyReply {
  const status = STATUS_OF[code as RefusalCode] ?? 500;
  const problem: Problem = {
    type: `urn:herald:problem:${code.toLowerCase().replaceAll('_', '-')}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    request_id: reply.request.id,
    errors: faults,
  };
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
  if (status === 401) void reply.header('www-authenticate', 'Bearer');
  return reply.code(status).type('application/problem+json').send(JSON.stringify(problem));
}

export type ProblemInput = { code: string; detail: string; faults?: Fault[]; retryAfterSeconds?: number };
