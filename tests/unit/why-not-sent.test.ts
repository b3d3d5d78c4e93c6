import { expect, test } from 'vitest';
import type { Whereabouts } from '../../subgraphs/notification/find-whereabouts.ts';
import { whyNotSent } from '../../subgraphs/notification/why-not-sent.ts';

/** What the story of why-not-sent.test.ts can't bring about in a moment. */

const NOW = new Date('2026-11-26T12:00:00Z');
const LATER = new Date('2026-11-26T12:00:05Z');
const smtp = { type: 'email', name: 'smtp', state: 'closed', reason: null, changedAt: NOW, workers: 1, isTaking: true };

/** Due now, in the queue. */
const waiting: Whereabouts = {
  id: '01938c5e-0000-7000-8000-000000000000',
  type: 'email',
  status: 'pending',
  reason: null,
  dueAt: NOW,
  expiresAt: null,
  endedAt: null,
  failures: 0,
  attempts: 0,
  leaseUntil: null,
  claimedAt: NOW,
  now: NOW,
  attempt: null,
  cause: { event: 'ACCEPTED', at: NOW, by: null, why: null, error: null, isDueThen: false },
  queuedAt: null,
  outboxDueAt: null,
  suppression: null,
  providers: [smtp],
};
const failed: Whereabouts = { ...waiting, status: 'failed', endedAt: NOW };

test.each<[string, Whereabouts, boolean, string, RegExp, Date | null]>([
  ['the broker is away', waiting, false, 'BROKER_AWAY', /goes out when the broker is back/, null],
  ['the broker is away, and it is not due yet', { ...waiting, dueAt: LATER }, false, 'GIVEN_BACK', /12:00:05/, LATER],
  ['it has its row in the outbox', { ...waiting, outboxDueAt: NOW }, true, 'IN_OUTBOX', /waits for its turn/, null],
  ['the broker refused its job', { ...waiting, outboxDueAt: LATER }, true, 'IN_OUTBOX', /offered again at .*05/, LATER],
  [
    'a half-open circuit lets it through',
    { ...waiting, providers: [{ ...smtp, state: 'half_open' }] },
    true,
    'IN_QUEUE',
    /queue since/,
    null,
  ],
  [
    'it is not sent any more, whatever it waited for',
    { ...waiting, dueAt: LATER, expiresAt: NOW },
    true,
    'GIVEN_BACK',
    /^Its expiresAt, 2026-11-26T12:00:00.000Z, has passed: it is not sent any more.* Until then: A worker/,
    null,
  ],
  [
    'a worker has it, and decides by itself',
    { ...waiting, leaseUntil: LATER, expiresAt: NOW },
    true,
    'WITH_WORKER',
    /^A worker has it/,
    LATER,
  ],
  [
    'its worker went before it sent anything',
    { ...waiting, leaseUntil: NOW },
    true,
    'WORKER_LOST',
    /had sent nothing/,
    null,
  ],
  [
    'no device could be reached',
    { ...failed, reason: 'ADDRESS_DEAD' },
    true,
    'ADDRESS_DEAD',
    /^No address of the user/,
    null,
  ],
  [
    'no worker survived it',
    { ...failed, reason: 'RETRIES_EXHAUSTED' },
    true,
    'RETRIES_EXHAUSTED',
    /^No worker came/,
    null,
  ],
  ['nobody said who cancelled it', { ...failed, reason: 'CANCELLED' }, true, 'CANCELLED', /^It was cancelled at/, null],
  [
    'nothing is known of it',
    { ...failed, reason: 'BOUNCED', cause: null, endedAt: null },
    true,
    'BOUNCED',
    /its provider\.$/,
    null,
  ],
])('%s', (_, found, isBrokerUp, code, words, until) => {
  const told = whyNotSent(found, isBrokerUp);
  expect(told).toMatchObject({ code, until });
  expect(told.explanation).toMatch(words);
  expect(told.explanation).toMatch(/[.!?]$/);
});
