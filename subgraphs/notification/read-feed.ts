import { setTimeout as wait } from 'node:timers/promises';
import type { StatusEvent } from '../../contracts/events.ts';
import type { Cursors, FeedPlace } from '../../platform/feed-cursor.ts';
import type { Pool } from '../../platform/postgres.ts';
import { refuse, unavailable, type Refusal } from '../../platform/refusal.ts';
import { faultOfLine, isUuid } from '../../platform/text.ts';
import type { Viewer } from '../../platform/trust.ts';
import { EVENT, toEvent, type EventRow } from './feed.ts';

const MAX_PAGE = 1_000;

export type FeedFilter = { notificationId: string | null; userId: string | null; requestId: string | null };
export type FeedPage = { kind: 'page'; epoch: string; events: StatusEvent[]; endSeq: number; hasMore: boolean };

/**
 * One page of numbered status changes that the viewer may see, in order. Head and events come from one snapshot, so whoever goes
 * on live from `endSeq` misses nothing. Without `after` the page is empty and ends at the head.
 */
export async function readFeed(
  pool: Pool,
  cursors: Cursors,
  { after, ...asked }: { after: string | null; filter: FeedFilter; first: number },
  viewer: Viewer,
): Promise<FeedPage | Refusal> {
  const place = after === null ? null : cursors.parseCursor(after);
  if (after !== null && place === null)
    return refuse('BAD_USER_INPUT', 'after is no cursor of this feed', 'after', 'INVALID');
  return readFeedFrom(pool, { ...asked, place }, viewer);
}

/** The same behind a place. */
export async function readFeedFrom(
  pool: Pool,
  { place, filter, first }: { place: FeedPlace | null; filter: FeedFilter; first: number },
  viewer: Viewer,
): Promise<FeedPage | Refusal> {
  const refused = refuseAsked(filter, first);
  if (refused !== null) return refused;

  const { rows } = await pool.query<EventRow & { epoch: string; head: string; oldest: string; seq: string | null }>({
    name: 'read-feed',
    text: READ,
    values: [
      place?.seq ?? null,
      seesAll(viewer) || viewer.kind === 'user' ? null : viewer.id,
      filter.notificationId,
      filter.userId,
      filter.requestId,
      viewer.kind === 'user' ? viewer.id : null,
      first + 1,
    ],
  });
  const [state] = rows;
  if (state === undefined) throw new Error('the feed has no state row');
  const { epoch } = state;
  const head = Number(state.head);
  if (place !== null && (place.epoch !== epoch || place.seq < Number(state.oldest) - 1 || place.seq > head)) {
    return refuse(
      'CURSOR_EXPIRED',
      'after is too old, or from before a restore: read the current state, then follow from now',
    );
  }
  const events = rows.flatMap((row) => (row.seq === null ? [] : [toEvent({ ...row, seq: row.seq })]));
  const page = events.slice(0, first);
  const hasMore = events.length > first;
  return { kind: 'page', epoch, events: page, endSeq: hasMore ? (page.at(-1)?.seq ?? head) : head, hasMore };
}

/**
 * The state that a notification is in, or each with this requestId, as an event without a status before, and where the feed ended in the
 * same moment. All that led to a state is numbered: whoever goes on from the end, or comes back with the number of any of the events,
 * misses and repeats nothing.
 * @param wakeNumberer makes what was committed be numbered at once
 */
export async function readCurrentStatus(
  pool: Pool,
  wakeNumberer: () => void,
  filter: Pick<FeedFilter, 'notificationId' | 'requestId'>,
  viewer: Viewer,
): Promise<FeedPage | Refusal> {
  const refused = refuseAsked({ ...filter, userId: null }, 1);
  if (refused !== null) return refused;
  for (let delayMs = 10; delayMs < 2_000; delayMs *= 2) {
    const { rows } = await pool.query<StateRow>({
      name: 'current-status',
      text: CURRENT,
      values: [
        filter.notificationId,
        filter.requestId,
        seesAll(viewer) || viewer.kind === 'user' ? null : viewer.id,
        viewer.kind === 'user' ? viewer.id : null,
      ],
    });
    const [row] = rows;
    if (row === undefined) throw new Error('the feed has no state row');
    const { epoch, head } = row;
    if (!rows.some(({ isWaiting }) => isWaiting)) {
      const states = row.notificationId === null ? [] : rows;
      // Behind the last of them nothing of theirs is left up to the head.
      const events = states.map((state, index) =>
        toEvent(index === states.length - 1 ? { ...state, seq: head } : state),
      );
      return { kind: 'page', epoch, events, endSeq: Number(head), hasMore: false };
    }
    wakeNumberer();
    await wait(delayMs);
  }
  return unavailable('its last change has not got its number yet: ask again in a moment', 2);
}

type StateRow = EventRow & { epoch: string; head: string; notificationId: string | null; isWaiting: boolean };

/** The admin's eyes, and the gateway's when it looks for all of its subscribers. */
const seesAll = ({ kind }: Viewer) => kind === 'admin' || kind === 'service';

function refuseAsked(filter: FeedFilter, first: number): Refusal | null {
  if (first < 1 || first > MAX_PAGE)
    return refuse('BAD_USER_INPUT', `first must be 1 to ${MAX_PAGE}`, 'first', 'INVALID');
  for (const field of ['notificationId', 'userId'] as const) {
    const id = filter[field];
    if (id !== null && !isUuid(id))
      return refuse('BAD_USER_INPUT', `filter.${field} must be a UUID`, `filter.${field}`, 'INVALID');
  }
  const fault = filter.requestId === null ? null : faultOfLine(filter.requestId, { max: 255 });
  return fault === null ? null : refuse('BAD_USER_INPUT', `filter.requestId ${fault}`, 'filter.requestId', 'INVALID');
}

const STATE = `
  SELECT epoch, greatest((SELECT max(seq) FROM feed), floor) AS head, coalesce((SELECT min(seq) FROM feed), floor + 1) AS oldest
  FROM feed_state`;

const READ = `
  WITH state AS (${STATE})
  SELECT state.epoch, state.head, state.oldest, event.*
  FROM state LEFT JOIN LATERAL (
    SELECT ${EVENT} FROM feed
    WHERE seq > $1::bigint AND ($2::text IS NULL OR client_id = $2) AND ($3::uuid IS NULL OR notification_id = $3)
      AND ($4::uuid IS NULL OR user_id = $4) AND ($5::text IS NULL OR request_id = $5)
      AND ($6::uuid IS NULL OR user_id = $6)
    ORDER BY seq LIMIT $7) AS event ON true
  ORDER BY event.seq`;

// The number of a state is that of the last event that led to it, or 0 when that is no longer kept: then it expires as a cursor.
const CURRENT = `
  WITH state AS (${STATE}), asked AS (
    SELECT * FROM notification
    WHERE ($1::uuid IS NULL OR id = $1)
      AND ($2::text IS NULL OR id IN (SELECT notification_id FROM request_key k WHERE k.request_id = $2 AND ($3::text IS NULL OR k.client_id = $3)))
      AND ($3::text IS NULL OR client_id = $3) AND ($4::uuid IS NULL OR user_id = $4)
    ORDER BY id DESC LIMIT ${MAX_PAGE})
  SELECT state.epoch, state.head, coalesce(last.seq, 0) AS seq, n.id AS "notificationId", n.version, n.type, n.user_id AS "userId",
    n.client_id AS "clientId", n.request_id AS "requestId", n.status, NULL AS "previousStatus", n.reason, n.attempts AS attempt,
    n.updated_at AS at, EXISTS (SELECT FROM feed_in WHERE notification_id = n.id) AS "isWaiting"
  FROM state LEFT JOIN asked AS n ON true
    LEFT JOIN LATERAL (SELECT max(seq) AS seq FROM feed WHERE notification_id = n.id) AS last ON true
  ORDER BY 3, n.id`;
