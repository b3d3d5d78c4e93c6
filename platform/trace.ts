import { randomBytes } from 'node:crypto';

/** W3C Trace Context: version, trace id, id of the caller's span, flags. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const MAX_TRACESTATE = 512;

export type Trace = { traceparent: string; tracestate?: string };

/** The trace that a request belongs to; a new one when it brings none, or one that is not valid. */
export function readTrace(headers: Record<string, string | string[] | undefined>): Trace {
  const { traceparent, tracestate } = headers;
  if (typeof traceparent !== 'string' || !TRACEPARENT.test(traceparent)) return { traceparent: newTraceparent() };
  const isKept = typeof tracestate === 'string' && tracestate.length > 0 && tracestate.length <= MAX_TRACESTATE;
  return { traceparent, ...(isKept && { tracestate }) };
}

/** The id that all of a trace's log lines share. */
export const traceIdOf = ({ traceparent }: Trace) => traceparent.slice(3, 35);

const newTraceparent = () => `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-00`;
