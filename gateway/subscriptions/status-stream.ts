import type { StatusEvent } from '../../contracts/events.ts';
import type { Cursors, FeedPlace } from '../../platform/feed-cursor.ts';
import { isRefusal, refuse, unavailable, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid } from '../../platform/text.ts';
import type { SignedContext, Viewer } from '../../platform/trust.ts';
import type { TopicArguments } from './engine.ts';
import type { FeedHub, Topic } from './feed-hub.ts';
import type { FeedFilter, FeedReader } from './read-feed.ts';

/** One numbered event with the place behind it. */
export type Told = { event: StatusEvent; cursor: string };

/** Why no more comes. */
export type StreamEnd =
  /** Whoever reads it left. */
  | { kind: 'left' }
  /** It read so slowly that too much waited for it. */
  | { kind: 'slow' }
  /** Nothing that follows could be told without a gap, or at all. */
  | { kind: 'refused'; refusal: Refusal };

/**
 * The events that one subscriber sees: from where it was, or from the state that is, without a gap and without a repeat into what
 * happens now. Reading is by `next`; nothing is read of what was, and nothing dropped of what is, sooner than it is asked for.
 */
export type StatusStream = {
  /** The next event; null when there is none any more. One at a time. */
  next(): Promise<Told | null>;
  /** It is on its way to the reader, who goes on behind it. */
  pass(told: Told): void;
  /** At once; a `next` that waits resolves. */
  leave(): void;
  /** Null while it goes on. */
  end(): StreamEnd | null;
};

export type StreamListeners = {
  /** Of an event that will be read soon, as soon as it happens. */
  onSoon?: (told: Told) => void;
  /** At once, also while nobody reads; `cursor` is where the reader can go on. */
  onEnd?: (end: StreamEnd, cursor: string) => void;
};

export type StreamSources = {
  hub: Pick<FeedHub, 'follow' | 'ready'>;
  reader: FeedReader;
  cursors: Cursors;
};

/**
 * Begins a stream for somebody who may read notifications.
 * @returns a refusal when they may not know of what they ask for, or when it can't be known from where to go on
 */
export async function openStatusStream(
  sources: StreamSources,
  asked: TopicArguments,
  context: SignedContext,
  listeners: StreamListeners = {},
): Promise<StatusStream | Refusal> {
  const { viewer } = context;
  if (!viewer.scopes.includes('notifications:read'))
    return refuse('FORBIDDEN', 'this needs the scope notifications:read, which the credential does not have');
  const topic = chooseTopic(asked, viewer);
  if (isRefusal(topic)) return topic;
  const after = asked.after == null ? null : sources.cursors.parseCursor(asked.after);
  if (asked.after != null && after === null)
    return refuse('BAD_USER_INPUT', 'after is no cursor of this feed', 'after', 'INVALID');
  const away = await sources.hub.ready();
  if (away !== null) return away;

  const stream = new Stream(sources, topic, context, listeners);
  const refused = await stream.begin(after).catch(() => AWAY);
  if (refused !== null) {
    stream.leave();
    return refused;
  }
  return stream;
}

function chooseTopic({ notificationId, userId, requestId }: TopicArguments, viewer: Viewer): Topic | Refusal {
  const given: Topic[] = [
    ...(notificationId == null ? [] : [{ kind: 'notification' as const, id: notificationId.toLowerCase() }]),
    ...(userId == null ? [] : [{ kind: 'user' as const, id: userId.toLowerCase() }]),
    ...(requestId == null ? [] : [{ kind: 'request' as const, id: requestId }]),
  ];
  const [topic] = given;
  for (const field of ['notificationId', 'userId'] as const) {
    const id = { notificationId, userId }[field];
    if (id != null && !isUuid(id)) return refuse('BAD_USER_INPUT', `${field} must be a UUID`, field, 'INVALID');
  }
  const fault = requestId == null ? null : faultOfLine(requestId, { max: MAX_REQUEST_ID });
  if (fault !== null) return refuse('BAD_USER_INPUT', `requestId ${fault}`, 'requestId', 'INVALID');
  if (given.length > 1)
    return refuse('BAD_USER_INPUT', 'give one of notificationId, userId and requestId, not several', 'notificationId');
  if (topic === undefined) {
    if (viewer.kind === 'user') return { kind: 'user', id: viewer.id };
    if (viewer.kind === 'admin') return { kind: 'all' };
    return refuse('BAD_USER_INPUT', 'give notificationId, userId or requestId', 'notificationId', 'REQUIRED');
  }
  if (topic.kind === 'user' && viewer.kind === 'user' && topic.id !== viewer.id)
    return refuse('FORBIDDEN', "a user's token shows what was sent to that user, not to others", 'userId');
  return topic;
}

class Stream implements StatusStream {
  readonly #sources: StreamSources;
  readonly #topic: Topic;
  readonly #context: SignedContext;
  readonly #listeners: StreamListeners;
  readonly #stopFollowing: () => void;
  /** Events that happened and were not told yet; while what was is still read, only those since the last question for it. */
  #waiting: StatusEvent[] = [];
  /** Of #waiting, those before are told. */
  #first = 0;
  #hasLost = false;
  /** What was, a page at a time; null when the stream is live. */
  #replay: { events: StatusEvent[]; hasMore: boolean } | null = { events: [], hasMore: false };
  /** The hub's, from which this stream goes on. */
  readonly #epoch: string;
  /** What was before it is read. */
  #place: FeedPlace;
  /** What was before it has left for the reader. */
  #passed: FeedPlace;
  /** All up to this number was read as what was. */
  #told = 0;
  #wake: (() => void) | null = null;
  #end: StreamEnd | null = null;

  constructor(sources: StreamSources, topic: Topic, context: SignedContext, listeners: StreamListeners) {
    this.#sources = sources;
    this.#topic = topic;
    this.#context = context;
    this.#listeners = listeners;
    const { place, stop } = sources.hub.follow(topic, {
      onEvent: (event) => this.#take(event),
      onExpired: (refusal) => this.#finish({ kind: 'refused', refusal }),
    });
    this.#epoch = place.epoch;
    this.#place = place;
    this.#passed = place;
    this.#stopFollowing = stop;
  }

  async begin(after: FeedPlace | null): Promise<Refusal | null> {
    if (after !== null) {
      this.#place = after;
      this.#passed = after;
      return this.#readOn();
    }
    if (this.#topic.kind === 'user' || this.#topic.kind === 'all') {
      this.#replay = null;
      return null;
    }
    const page = await this.#sources.reader.readCurrentStatus(filterOf(this.#topic), this.#context);
    if (isRefusal(page)) return page;
    if (page.epoch !== this.#epoch || this.#hasLost) return AWAY;
    if (page.events.length === 0 && this.#topic.kind === 'notification')
      return refuse('NOT_FOUND', 'there is no such notification', 'notificationId');
    this.#goLive(page.events, page.endSeq);
    return null;
  }

  async next(): Promise<Told | null> {
    for (;;) {
      if (this.#end !== null) return null;
      const event = this.#replay === null ? this.#shift() : this.#replay.events.shift();
      if (event !== undefined) {
        this.#place = { epoch: this.#epoch, seq: event.seq };
        return this.#toTold(event);
      }
      if (this.#replay === null) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      } else {
        const refused = await this.#readOn().catch(() => AWAY);
        if (refused !== null) this.#finish({ kind: 'refused', refusal: refused });
      }
    }
  }

  pass({ event }: Told): void {
    this.#passed = { epoch: this.#epoch, seq: event.seq };
  }

  leave(): void {
    this.#finish({ kind: 'left' });
  }

  #cursor(): string {
    return this.#sources.cursors.toCursor(this.#passed);
  }

  end(): StreamEnd | null {
    return this.#end;
  }

  /** What was behind the place, up to what happens now. */
  async #readOn(): Promise<Refusal | null> {
    // Whatever happened before the question is in the answer.
    this.#waiting = [];
    this.#hasLost = false;
    const asked = { after: this.#place, filter: filterOf(this.#topic), first: PAGE, context: this.#context };
    const page = await this.#sources.reader.readFeed(asked);
    if (isRefusal(page)) return page;
    const { epoch, events, hasMore, endSeq } = page;
    // The hub has still to hear that the feed has begun anew.
    if (epoch !== this.#epoch) return AWAY;
    if (hasMore || this.#hasLost) this.#replay = { events, hasMore: true };
    else this.#goLive(events, endSeq);
    return null;
  }

  #goLive(events: StatusEvent[], endSeq: number): void {
    this.#replay = null;
    this.#told = endSeq;
    this.#waiting = [...events, ...this.#waiting.filter((event) => !this.#isTold(event))];
    this.#first = 0;
  }

  /** The hub may hear of something later than the database tells of it. */
  #isTold({ seq }: StatusEvent): boolean {
    return seq <= this.#told;
  }

  #take(event: StatusEvent): void {
    if (!isVisible(event, this.#context.viewer) || this.#isTold(event)) return;
    const behind = this.#waiting.length - this.#first;
    if (behind >= MAX_WAITING) {
      // What was is still read: this will be found there.
      if (this.#replay !== null) this.#hasLost = true;
      else this.#finish({ kind: 'slow' });
      return;
    }
    this.#waiting.push(event);
    if (this.#replay !== null) return;
    if (behind < SOON) this.#listeners.onSoon?.(this.#toTold(event));
    this.#rouse();
  }

  #shift(): StatusEvent | undefined {
    const event = this.#waiting[this.#first];
    this.#first += 1;
    if (this.#first >= this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
    }
    return event;
  }

  #toTold(event: StatusEvent): Told {
    return { event, cursor: this.#sources.cursors.toCursor({ epoch: this.#epoch, seq: event.seq }) };
  }

  #finish(end: StreamEnd): void {
    if (this.#end !== null) return;
    this.#end = end;
    this.#stopFollowing();
    this.#waiting = [];
    this.#rouse();
    this.#listeners.onEnd?.(end, this.#cursor());
  }

  #rouse(): void {
    this.#wake?.();
    this.#wake = null;
  }
}

/** As the notification service filters its feed. */
export const isVisible = ({ clientId, userId }: StatusEvent, { kind, id }: Viewer): boolean =>
  kind === 'admin' || (kind === 'user' ? userId === id : clientId === id);

const filterOf = (topic: Topic): FeedFilter => {
  switch (topic.kind) {
    case 'notification':
      return { notificationId: topic.id };
    case 'user':
      return { userId: topic.id };
    case 'request':
      return { requestId: topic.id };
    case 'all':
      return {};
  }
};

const AWAY = unavailable('the notification service is away: subscribe again in a moment', 2);

/** So many may wait for one subscriber: they are the same objects for all. */
const MAX_WAITING = 1_000;
/** So many of them are prepared before they are asked for. */
const SOON = 16;
const PAGE = 200;
const MAX_REQUEST_ID = 255;
