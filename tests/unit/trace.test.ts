import { expect, test } from 'vitest';
import { readTrace, traceIdOf } from '../../platform/trace.ts';

const [TRACE, SPAN] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
const MINE = `00-${TRACE}-${SPAN}-01`;

test.each([
  [MINE, MINE],
  [`00-${TRACE}-${SPAN}-03`, `00-${TRACE}-${SPAN}-03`],
  // Versions to come: the first four fields, and of the flags the one that all have.
  [`01-${TRACE}-${SPAN}-01`, MINE],
  [`cc-${TRACE}-${SPAN}-01-what-comes-then`, MINE],
  [`fe-${TRACE}-${SPAN}-ff-`, MINE],
  [`01-${TRACE}-${SPAN}-f2`, `00-${TRACE}-${SPAN}-00`],
])('%s goes on as %s', (traceparent, goesOn) => {
  expect(readTrace({ traceparent, tracestate: 'vendor=1' })).toEqual({ traceparent: goesOn, tracestate: 'vendor=1' });
});

test.each([
  `ff-${TRACE}-${SPAN}-01`,
  `${MINE}-more`,
  `01-${TRACE}-${SPAN}-01.more`,
  `0-${TRACE}-${SPAN}-01`,
  `01-${TRACE}-${SPAN}`,
  `01-${'0'.repeat(32)}-${SPAN}-01`,
  `01-${TRACE}-${'0'.repeat(16)}-01`,
  MINE.toUpperCase(),
  '',
])('%s is none: a new trace begins, without the old state', (traceparent) => {
  const trace = readTrace({ traceparent, tracestate: 'vendor=1' });
  expect(trace).toEqual({ traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/) });
  expect(traceIdOf(trace)).not.toBe(TRACE);
});
