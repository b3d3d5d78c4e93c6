import { refuse, type Refusal } from '../../platform/refusal.ts';

const MAX_PAGE = 200;

export type Connection<Row> = {
  edges: { cursor: string; node: Row }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor?: string; endCursor?: string };
};

/**
 * Reads one page of a list as a Relay connection, or refuses its bounds.
 * @param list names the list in its cursors, so that another list's are refused
 * @param parsePlace undefined for what is no place in this list
 * @param find the rows behind a place (null: from the first on), and one more than `most` when there are more
 */
export async function readPage<Row, Place extends string | number>(
  { first, after }: { first: number; after?: string | null },
  list: string,
  placeOf: (row: Row) => Place,
  parsePlace: (text: string) => Place | undefined,
  find: (after: Place | null, most: number) => Promise<Row[]>,
): Promise<Connection<Row> | Refusal> {
  if (first < 1 || first > MAX_PAGE)
    return refuse('BAD_USER_INPUT', `first must be 1 to ${MAX_PAGE}`, 'first', 'INVALID');
  const place = after == null ? null : parsePlace(placeIn(after, list));
  if (place === undefined) return refuse('BAD_USER_INPUT', 'after is no cursor of this list', 'after', 'INVALID');
  const rows = await find(place, first);
  const edges = rows.slice(0, first).map((node) => ({ node, cursor: toCursor(list, placeOf(node)) }));
  return {
    edges,
    pageInfo: {
      hasNextPage: rows.length > first,
      hasPreviousPage: place !== null,
      startCursor: edges[0]?.cursor,
      endCursor: edges.at(-1)?.cursor,
    },
  };
}

/** For places that are numbers from 1. */
export const parseNumber = (text: string): number | undefined =>
  /^[1-9]\d{0,9}$/.test(text) && Number(text) < 2 ** 31 ? Number(text) : undefined;

/** Opaque to clients. */
const toCursor = (list: string, place: string | number): string =>
  Buffer.from(`${list} ${place}`).toString('base64url');

/** Empty for another list's cursor. */
function placeIn(cursor: string, list: string): string {
  const text = Buffer.from(cursor, 'base64url').toString();
  return text.startsWith(`${list} `) ? text.slice(list.length + 1) : '';
}
