import { expect } from 'vitest';
import type { RestAnswer } from './doors.ts';

const TITLES: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  413: 'Payload Too Large',
  415: 'Unsupported Media Type',
  422: 'Unprocessable Entity',
  429: 'Too Many Requests',
  503: 'Service Unavailable',
};

/**
 * Expects problem details (RFC 9457) in Herald's exact shape.
 * @param fields those that `errors` must name, in the caller's spelling, in any order
 */
export function expectProblem({ status, headers, body }: RestAnswer, expected: number, fields: string[] = []): void {
  expect({ status, body }).toEqual({
    status: expected,
    body: {
      type: expect.stringMatching(/^urn:herald:problem:[a-z-]+$/),
      title: TITLES[expected],
      status: expected,
      detail: expect.stringMatching(/./),
      request_id: expect.stringMatching(/./),
      errors: expect.any(Array),
    },
  });
  expect(headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(headers['x-request-id']).toBe(body.request_id);
  expect(body.errors.map(({ field }: { field: string }) => field).sort()).toEqual(fields.toSorted());
  for (const fault of body.errors) {
    expect(fault).toEqual({
      field: expect.any(String),
      code: expect.stringMatching(/^[A-Z_]+$/),
      message: expect.stringMatching(/./),
      ...('line' in fault && { line: expect.any(Number), column: expect.any(Number) }),
    });
  }
}
