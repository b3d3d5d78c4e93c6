import { randomBytes } from 'node:crypto';

/** W3C Trace Context: version, trace id, id of the caller's span, flags; versions to come may have more behind them. */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** The only flag that a version which we don't know has for sure. */
const SAMPLED = 0x01;
const MAX_TRACESTATE = 512;

export type Trace = { traceparent: string; tracestate?: string };

type Headers = Record<string, string | string[] | undefined>;

/** The trace that a request belongs to, in version 00; a new one when it brings none, or one that is not valid. */
export const readTrace = (headers: Headers): Trace => readGivenTrace(headers) ?? { traceparent: newTraceparent() };

/** The trace that a request brings; undefined when it brings none. */
export function readGivenTrace(headers: Headers): Trace | undefined {
  const { traceparent: given, tracestate } = headers;
  const traceparent = typeof given === 'string' ? parseTraceparent(given) : null;
  if (traceparent === null) return undefined;
  const isKept = typeof tracestate === 'string' && tracestate.length > 0 && tracestate.length <= MAX_TRACESTATE;
  return { traceparent, ...(isKept && { tracestate }) };
}

function parseTraceparent(given: string): string | null {
  const [, version, traceId, parentId, flags = '', rest] = TRACEPARENT.exec(given) ?? [];
  if (version === undefined || (version === '00' && rest !== undefined)) return null;
  const known = version === '00' ? flags : (Number.parseInt(flags, 16) & SAMPLED).toString(16).padStart(2, '0');
  return `00-${traceId}-${parentId}-${known}`;
}

/** The id that all of a trace's log lines share. */
export const traceIdOf = ({ traceparent }: Trace) => traceparent.slice(3, 35);

export const traceparentOf = (traceId: string, spanId: string, flags: number) =>
  `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}`;

const newTraceparent = () => `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-00`;
