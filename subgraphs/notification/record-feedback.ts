import { FEEDBACK_CHANNELS, MAX_FEEDBACK, type FeedbackEvent, type FeedbackKind } from '../../contracts/feedback.ts';
import { isDeadLetter } from '../../contracts/failure-reason.ts';
import { withTransaction, type Pool } from '../../platform/postgres.ts';
import { refuse, unavailable, type Refusal } from '../../platform/refusal.ts';
import { ServiceUnavailable } from '../../platform/service-client.ts';
import { toCanonicalEmail } from '../../platform/text.ts';
import { countOutcomes, type Counters } from './counters.ts';
import {
  findByOnesignalId,
  findTargets,
  insertSuppressions,
  markSeen,
  noteFeedback,
  type NewSuppression,
  type Target,
} from './feedback-store.ts';
import { applyChanges, changeOf, lockNotifications, type Change, type LockedRow } from './outcomes.ts';
import type { Peers } from './peers.ts';
import { toSuppressedAddress } from './suppressions.ts';

export type FeedbackDependencies = {
  pool: Pool;
  peers: Peers;
  counters: Counters;
  /** Called after the commit of changes that put rows into the outbox. */
  onQueued: () => void;
  /** Called after the commit of status changes. */
  onChanged: () => void;
};

const RETRY_AFTER_SECONDS = 2;
/** By then a lease has run out. */
const HELD_SECONDS = 60;

/**
 * Takes what providers say of messages after they took them: each event into the timeline of its notification, a bounce for good
 * ends it, and whoever bounced, complained or unsubscribed is suppressed. An event that was taken before changes nothing. A bounce of
 * a notification that a worker holds is left to the provider's repeat: what the worker reports would cover it up.
 * @returns how many were new
 */
export async function recordFeedback(
  deps: FeedbackDependencies,
  events: FeedbackEvent[],
  requestId: string,
): Promise<{ kind: 'recorded'; count: number } | Refusal> {
  if (events.length === 0 || events.length > MAX_FEEDBACK)
    return refuse('BAD_USER_INPUT', `events must have 1 to ${MAX_FEEDBACK} items`, 'events', 'INVALID');
  const named = await withNotificationIds(deps.pool, events);
  const targets = await findTargets(
    deps.pool,
    named.flatMap(({ notificationId }) => notificationId ?? []),
  );
  const unsubscribable = await findUnsubscribable(deps.peers, named, targets, requestId);
  if (!(unsubscribable instanceof Set)) return unsubscribable;

  const { fresh, changes, tooEarly } = await withTransaction(deps.pool, async (client) => {
    const rows = await lockNotifications(client, [...targets.keys()]);
    const rowOf = (event: FeedbackEvent) => rows.get(targetOf(event, targets)?.id ?? '');
    const isTooEarly = (event: FeedbackEvent) => isFinalBounce(event) && isHeld(rowOf(event));
    const fresh = await markSeen(
      client,
      named.filter((event) => !isTooEarly(event)),
    );
    // One change for each notification, however many events say the same.
    const changes = new Map<string, Change>();
    const notes: { notificationId: string; event: FeedbackEvent }[] = [];
    const suppressions: NewSuppression[] = [];
    for (const event of fresh) {
      const target = targetOf(event, targets);
      const row = rowOf(event);
      if (row !== undefined) notes.push({ notificationId: row.id, event });
      if (row !== undefined && isEnd(event, row)) changes.set(row.id, toBounced(event, row));
      const mayUnsubscribe = target !== undefined && unsubscribable.has(target.templateCode);
      suppressions.push(...toSuppressions(event, target, mayUnsubscribe));
    }
    if (notes.length > 0) await noteFeedback(client, notes);
    if (changes.size > 0) await applyChanges(client, [...changes.values()]);
    if (suppressions.length > 0) await insertSuppressions(client, suppressions);
    return { fresh, changes, tooEarly: named.filter(isTooEarly).length };
  });
  for (const { provider, kind } of fresh) deps.counters.feedback.inc({ provider, kind });
  countOutcomes(deps.counters, [...changes.values()]);
  if (changes.size > 0) {
    deps.onQueued();
    deps.onChanged();
  }
  if (tooEarly > 0) return unavailable(`a worker holds ${tooEarly} of these notifications: repeat them`, HELD_SECONDS);
  return { kind: 'recorded', count: fresh.length };
}

type Standing = Pick<LockedRow, 'status' | 'isLeased' | 'isExpired'>;

/** Whether an event ends its notification. */
export const isEnd = (event: FeedbackEvent, row: Standing): boolean =>
  isFinalBounce(event) && row.status !== 'failed' && !isHeld(row);

const isFinalBounce = ({ kind, isPermanent }: FeedbackEvent) => kind === 'bounced' && isPermanent;

/** With a lease, even one that ran out, a worker may be sending it again. */
const isHeld = (row: Standing | undefined) => row?.status === 'pending' && (row.isLeased || row.isExpired);

/** Whom an event asks to leave alone. */
export function toSuppressions(
  event: FeedbackEvent,
  target: Target | undefined,
  mayUnsubscribe: boolean,
): NewSuppression[] {
  const { kind, provider } = event;
  const type = FEEDBACK_CHANNELS[provider];
  const base = { type, address: null, userId: null, templateCode: null, createdBy: provider };
  const forAddress = (): NewSuppression[] => {
    const address = vouchedAddress(event, target);
    if (address === null) return [];
    return [{ ...base, address: toSuppressedAddress(type, address), reason: toReason(event) }];
  };
  switch (kind) {
    case 'bounced':
      return event.isAddressDead ? forAddress() : [];
    case 'complained':
      return forAddress();
    case 'unsubscribed':
      // At OneSignal a device unsubscribes from everything.
      if (type === 'push') return forAddress();
      return target !== undefined && mayUnsubscribe
        ? [{ ...base, userId: target.userId, templateCode: target.templateCode, reason: toReason(event) }]
        : [];
    case 'delivered':
    case 'deferred':
      return [];
  }
}

/**
 * The address to suppress. A provider signs what it says; a delivery status notification can be mailed by anybody, so it counts
 * only against the address that the notification it returns was sent to.
 */
function vouchedAddress({ provider, address }: FeedbackEvent, target: Target | undefined): string | null {
  const sentTo = target?.address ?? null;
  if (provider !== 'bounces') return address ?? sentTo;
  return address !== null && toCanonicalEmail(address) === sentTo ? sentTo : null;
}

const toReason = ({ kind, reason }: FeedbackEvent) =>
  reason === null ? SAID[kind] : `${SAID[kind]}: ${reason}`.slice(0, 1_000);

const SAID = {
  bounced: 'hard bounce',
  complained: 'spam complaint',
  unsubscribed: 'unsubscribed',
  delivered: 'delivered',
  deferred: 'deferred',
} as const satisfies Record<FeedbackKind, string>;

const toBounced = (event: FeedbackEvent, row: LockedRow): Change => ({
  ...changeOf(row),
  status: 'failed',
  reason: 'BOUNCED',
  event: 'FAILED',
  error: event.reason,
  by: event.provider,
  // A mail that came back says nothing of who carried it.
  provider: event.provider === 'bounces' ? null : event.provider,
  isDeadLetter: isDeadLetter('BOUNCED'),
});

/** Ids in the database's spelling; OneSignal's events can't carry one, so theirs is that of the attempt with their message id. */
async function withNotificationIds(pool: Pool, events: FeedbackEvent[]): Promise<FeedbackEvent[]> {
  const unnamed = events.flatMap(({ provider, notificationId, providerMessageId }) =>
    provider === 'onesignal' && notificationId === null && providerMessageId !== null ? [providerMessageId] : [],
  );
  const found = unnamed.length === 0 ? new Map<string, string>() : await findByOnesignalId(pool, unnamed);
  return events.map((event) => ({
    ...event,
    notificationId: event.notificationId?.toLowerCase() ?? found.get(event.providerMessageId ?? '') ?? null,
  }));
}

/** The codes of the templates that may be unsubscribed from, of those that somebody wants to. */
async function findUnsubscribable(
  peers: Peers,
  events: FeedbackEvent[],
  targets: Map<string, Target>,
  requestId: string,
): Promise<Set<string> | Refusal> {
  const wanted = events.filter(({ kind }) => kind === 'unsubscribed').map((event) => targetOf(event, targets));
  const codes = new Set(wanted.flatMap((target) => target?.templateCode ?? []));
  try {
    const templates = await Promise.all(
      [...codes].map(async (key) => ({ key, template: await peers.findPublished({ key, requestId }) })),
    );
    return new Set(templates.flatMap(({ key, template }) => (template?.unsubscribable ? [key] : [])));
  } catch (error) {
    if (error instanceof ServiceUnavailable)
      return unavailable('a service that this needs is away', RETRY_AFTER_SECONDS);
    throw error;
  }
}

/** The notification that an event speaks of; one of another channel is not meant. */
function targetOf({ provider, notificationId }: FeedbackEvent, targets: Map<string, Target>): Target | undefined {
  const target = notificationId === null ? undefined : targets.get(notificationId);
  return target?.type === FEEDBACK_CHANNELS[provider] ? target : undefined;
}
