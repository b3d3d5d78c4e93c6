import { describe, expect, test } from 'vitest';
import type { Herald } from '../faults/herald.ts';
import type { Entry } from '../faults/provider.ts';
import type { Sending } from '../faults/send.ts';
import { judge } from '../faults/verdict.ts';

/** One notification that ended so, and what the ledger of its provider says of it. */
type Story = { status?: 'delivered' | 'failed'; reason?: string; ledger?: Entry['event'][] };

/** The problems that a fault run finds in the story. */
async function problemsOf(
  { status = 'failed', reason, ledger = [] }: Story,
  { excused = [], leavesUnknown = false }: { excused?: string[]; leavesUnknown?: boolean } = {},
): Promise<string[]> {
  const answers: [RegExp, object[]][] = [
    [/count\(\*\)::integer AS count/, [{ count: 2, span: 2, first: 1 }]],
    [/FROM feed WHERE/, [event(1, 'pending', null), event(2, status, 'pending')]],
    [/HAVING/, []],
    [/"outbox rows"/, [{ pending: 0 }]],
    [/FROM notification WHERE/, [{ id: 'n', status, reason: reason ?? null, version: 2, onAmbiguous: 'fail' }]],
  ];
  const herald = {
    sql: async (text: string) => answers.find(([pattern]) => pattern.test(text))?.[1] ?? [],
    provider: { ledger: ledger.map((name) => ({ notificationId: 'n', event: name, via: 'email-1', at: 0 })) },
  };
  const sending = { accepted: new Map([['n', { requestId: 'r', onAmbiguous: 'fail' }]]), complaints: [] };
  const { problems } = await judge(herald as unknown as Herald, {
    run: 'run',
    sending: sending as unknown as Sending,
    excused: new Set(excused),
    leavesUnknown,
  });
  return problems;
}
const event = (version: number, status: string, previousStatus: string | null) => ({
  id: 'n',
  version,
  status,
  previousStatus,
});

describe('a fault run is red', () => {
  test.each<[string, Story, RegExp]>([
    [
      'ended as OUTCOME_UNKNOWN, when no fault gives a reason',
      { reason: 'OUTCOME_UNKNOWN' },
      /nothing had left it unknown/,
    ],
    ['is REJECTED, and the provider took it without an answer', { reason: 'REJECTED', ledger: ['hung'] }, /took it/],
    ['is EXPIRED, and the provider took it and cut the line', { reason: 'EXPIRED', ledger: ['reset'] }, /took it/],
    ['is REJECTED, and the provider accepted it', { reason: 'REJECTED', ledger: ['begun', 'accepted'] }, /took it/],
    [
      'is delivered, and the provider refused it',
      { status: 'delivered', ledger: ['begun', 'refused'] },
      /never accepted/,
    ],
  ])('when a notification %s', async (_, story, problem) => {
    expect(await problemsOf(story)).toContainEqual(expect.stringMatching(problem));
  });
});

describe('a fault run is green', () => {
  test.each<[string, Story, Parameters<typeof problemsOf>[1]]>([
    ['excuses an attempt', { reason: 'OUTCOME_UNKNOWN' }, { excused: ['n:1'] }],
    ['leaves attempts unknown', { reason: 'OUTCOME_UNKNOWN' }, { leavesUnknown: true }],
    ['keeps the answer from us', { reason: 'OUTCOME_UNKNOWN', ledger: ['begun', 'hung'] }, {}],
    ['refuses the message', { reason: 'REJECTED', ledger: ['begun', 'refused'] }, {}],
    ['takes the message', { status: 'delivered', ledger: ['begun', 'accepted'] }, {}],
  ])('when what ended so is a fault that %s', async (_, story, options) => {
    expect(await problemsOf(story, options)).toEqual([]);
  });
});
