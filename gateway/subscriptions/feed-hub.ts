import { setTimeout as wait } from 'node:timers/promises';
import { feedMessageSchema, type StatusEvent } from '../../contracts/events.ts';
import type { TopologyNames } from '../../contracts/topology.ts';
import type { Broker } from '../../platform/broker/broker.ts';
import type { FeedPlace } from '../../platform/feed-cursor.ts';
import { untilAborted, type Running } from '../../platform/lifecycle.ts';
import type { Logger } from '../../platform/logger.ts';
import { isRefusal, refuse, unavailable, type Refusal } from '../../platform/refusal.ts';
import type { Tracer } from '../../platform/tracing.ts';
import type { ReadFeed } from './read-feed.ts';

/** Whose events: of one notification, to one user, of one request, or all. */
export type Topic = { kind: 'notification' | 'user' | 'request'; id: string } | { kind: 'all' };

export type Follower = {
  /** In the order of their numbers, none missing, none twice. */
  onEvent(event: StatusEvent): void;
  /** The feed has begun anew, or goes on behind a part that is no longer kept: what was missed can't be told. */
  onExpired(refusal: Refusal): void;
};

export type FeedHub = Running & {
  /** Calls back from now on, and until the returned function is called. What happened before is at or before the place it gives. */
  follow(topic: Topic, follower: Follower): { place: FeedPlace; stop: () => void };
  /** Resolves as soon as it is known where the feed is; a refusal when it isn't within 2 s. */
  ready(): Promise<Refusal | null>;
  /** How many events it has passed on, and how often it had to ask for a range. */
  counts(): { events: number; ranges: number; followers: number; lag: number };
};

/**
 * One for a gateway: hears of every status change once, whatever the number of its subscribers. What the broker loses shows by the
 * numbers: a hole, a new queue, a newer head or silence means one question for the range that is missing.
 */
export function startFeedHub({
  broker,
  names,
  readFeed,
  tracer,
  log,
}: {
  broker: Broker;
  names: TopologyNames;
  readFeed: ReadFeed;
  tracer: Tracer;
  log: Logger;
}): FeedHub {
  const stopping = new AbortController();
  const followers = new Map<string, Set<Follower>>();
  /** Behind a hole, by number. */
  const early = new Map<number, StatusEvent>();
  let place: FeedPlace | null = null;
  let positioned = Promise.withResolvers<void>();
  let heardAt = performance.now();
  /** The newest number that was heard of. */
  let head = 0;
  let holeTimer: NodeJS.Timeout | undefined;
  let events = 0;
  let ranges = 0;

  const pass = (event: StatusEvent) => {
    events += 1;
    const told = topicsOf(event).flatMap((topic) => [...(followers.get(topic) ?? [])]);
    for (const follower of told) follower.onEvent(event);
    if (event.traceparent === undefined || told.length === 0) return;
    const attributes = { 'herald.notification_id': event.notificationId, 'herald.subscribers': told.length };
    const parent = { traceparent: event.traceparent };
    tracer.start(`subscription event ${event.status}`, { kind: 'producer', parent, attributes }).end();
  };

  const take = (event: StatusEvent) => {
    if (place === null || event.seq <= place.seq) return;
    if (event.seq > place.seq + 1) {
      if (early.size < MAX_EARLY) early.set(event.seq, event);
      return;
    }
    for (let next: StatusEvent | undefined = event; next !== undefined; next = early.get(place.seq + 1)) {
      early.delete(next.seq);
      place = { epoch: place.epoch, seq: next.seq };
      pass(next);
    }
  };

  const expire = () => {
    place = null;
    positioned = Promise.withResolvers();
    early.clear();
    const all = new Set([...followers.values()].flatMap((some) => [...some]));
    for (const follower of all) follower.onExpired(EXPIRED);
  };

  /** @returns whether there is more */
  const readRange = async (): Promise<boolean> => {
    ranges += 1;
    const page = await readFeed({ after: place, first: PAGE, signal: stopping.signal });
    if (isRefusal(page)) {
      if (page.code !== 'CURSOR_EXPIRED') throw new Error(page.message);
      log.warn({ place }, 'the feed has begun anew: every subscriber has to read the state again');
      expire();
      return true;
    }
    if (place === null) {
      place = { epoch: page.epoch, seq: page.endSeq };
      positioned.resolve();
      return false;
    }
    for (const event of page.events) take(event);
    for (const seq of early.keys()) if (seq <= place.seq) early.delete(seq);
    return page.hasMore;
  };

  let wanted = false;
  let catching: Promise<void> | undefined;
  /** One question at a time, repeated until it is answered. */
  const catchUp = () => {
    wanted = true;
    catching ??= (async () => {
      let failures = 0;
      while (wanted && !stopping.signal.aborted) {
        wanted = false;
        try {
          wanted = (await readRange()) || wanted;
          if (failures > 0) log.info('the feed can be read again');
          failures = 0;
        } catch (error) {
          if (stopping.signal.aborted) return;
          if (failures === 0) log.warn({ err: error }, 'the feed can’t be read: subscribers wait until it can');
          wanted = true;
          failures += 1;
          const delayMs = Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** failures) * (0.5 + Math.random() / 2);
          await wait(delayMs, undefined, { signal: stopping.signal }).catch(() => {});
        }
      }
    })().finally(() => {
      catching = undefined;
    });
  };

  const onMessage = (body: Buffer) => {
    const message = feedMessageSchema.parse(JSON.parse(body.toString()));
    heardAt = performance.now();
    head = message.head;
    if (place === null || message.epoch !== place.epoch) return catchUp();
    for (const event of message.events) take(event);
    if (message.head <= place.seq || catching !== undefined) return undefined;
    // What two processes publish at the same time may cross on its way.
    holeTimer ??= setTimeout(() => {
      holeTimer = undefined;
      if (place === null || message.head > place.seq) catchUp();
    }, HOLE_MS);
    return undefined;
  };

  const listener = broker.listen(
    { exchange: names.events, pattern: '#', maxLength: MAX_QUEUED, onGap: catchUp },
    ({ body }) => onMessage(body),
  );
  const silence = setInterval(() => {
    if (performance.now() - heardAt > SILENCE_MS) catchUp();
  }, LOOK_EVERY_MS);
  catchUp();

  return {
    follow(topic, follower) {
      if (place === null) throw new Error('nobody can follow a feed whose place is not known');
      const key = keyOf(topic);
      const set = followers.get(key) ?? new Set();
      followers.set(key, set.add(follower));
      return {
        place,
        stop: () => {
          set.delete(follower);
          if (set.size === 0 && followers.get(key) === set) followers.delete(key);
        },
      };
    },
    async ready() {
      if (place !== null) return null;
      const known = await Promise.race([
        positioned.promise.then(() => true),
        untilAborted(wait(READY_MS, false, { ref: false }), stopping.signal, () => false),
      ]);
      return known ? null : AWAY;
    },
    counts: () => ({
      events,
      ranges,
      followers: [...followers.values()].reduce((sum, { size }) => sum + size, 0),
      lag: Math.max(0, head - (place?.seq ?? head)),
    }),
    async stop() {
      stopping.abort();
      clearInterval(silence);
      clearTimeout(holeTimer);
      await listener.stop();
      await catching;
    },
  };
}

const keyOf = (topic: Topic): string => (topic.kind === 'all' ? 'all' : `${topic.kind} ${topic.id}`);

const topicsOf = ({ notificationId, userId, requestId }: StatusEvent): string[] => [
  `notification ${notificationId}`,
  `user ${userId}`,
  `request ${requestId}`,
  'all',
];

const EXPIRED = refuse('CURSOR_EXPIRED', 'the feed has begun anew: read the current state, then subscribe from now');
const AWAY = unavailable('the notification service is away: nobody can say where the feed is', 2);

/** Two publishers' messages may cross within this time. */
const HOLE_MS = 50;
/** The newest number is told every second, so no word means that the broker is lost, or its link. */
const SILENCE_MS = 3_000;
const LOOK_EVERY_MS = 1_000;
const READY_MS = 2_000;
const RETRY_BASE_MS = 100;
const RETRY_CAP_MS = 2_000;
const PAGE = 1_000;
/** Beyond it, what is early is asked for again. */
const MAX_EARLY = 10_000;
/** Messages in the gateway's own queue, the oldest dropped: they show as a hole. */
const MAX_QUEUED = 10_000;
