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
export function sendProblem(reply: FastifyReply, input: ProblemInput): FastifyReply {
  const { retryAfterSeconds } = input;
  const status = statusOf(input.code);
  const problem = toProblemDetails(input, reply.request.id, status);
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
  if (status === 401) void reply.header('www-authenticate', 'Bearer');
  return reply.code(status).type('application/problem+json').send(JSON.stringify(problem));
}

export const toProblemDetails = (
  { code, detail, faults = [] }: ProblemInput,
  requestId: string,
  status: number,
): Problem => ({
  type: `urn:herald:problem:${code.toLowerCase().replaceAll('_', '-')}`,
  title: STATUS_CODES[status] ?? 'Error',
  status,
  detail,
  request_id: requestId,
  errors: faults,
});

/** 500 for what is no refusal of ours. */
export const statusOf = (code: string): number => STATUS_OF[code as RefusalCode] ?? 500;

export type ProblemInput = { code: string; detail: string; faults?: Fault[]; retryAfterSeconds?: number | undefined };
