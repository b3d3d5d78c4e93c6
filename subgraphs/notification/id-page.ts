import { refuse, type Refusal } from '../../platform/refusal.ts';
import { toUuid } from '../../platform/text.ts';

const MAX_PAGE = 200;

/** One page of a list that goes by id, newest first. */
export type Page<Row> = { kind: 'page'; rows: Row[]; hasNextPage: boolean; hasPreviousPage: boolean };

/**
 * Reads one page, or refuses its bounds.
 * @param asked `after` is the cursor of the last row of the page before
 * @param find the newest rows with an id below `before` (null: from the newest on), at most `take`
 */
export async function readPage<Row>(
  { first, after }: { first: number; after: string | null },
  find: (before: string | null, take: number) => Promise<Row[]>,
): Promise<Page<Row> | Refusal> {
  if (first < 1 || first > MAX_PAGE)
    return refuse('BAD_USER_INPUT', `first must be 1 to ${MAX_PAGE}`, 'first', 'INVALID');
  const before = after === null ? null : parseCursor(after);
  if (before === undefined)
    return refuse('BAD_USER_INPUT', 'after must be the cursor of a page before', 'after', 'INVALID');
  const rows = await find(before, first + 1);
  return {
    kind: 'page',
    rows: rows.slice(0, first),
    hasNextPage: rows.length > first,
    hasPreviousPage: before !== null,
  };
}

/** The Relay connection of a page. */
export function toConnection<Row extends { id: string }>({ rows, hasNextPage, hasPreviousPage }: Page<Row>) {
  const edges = rows.map((node) => ({ node, cursor: toCursor(node.id) }));
  return {
    edges,
    pageInfo: { hasNextPage, hasPreviousPage, startCursor: edges[0]?.cursor, endCursor: edges.at(-1)?.cursor },
  };
}

const toCursor = (id: string): string => Buffer.from(id.replaceAll('-', ''), 'hex').toString('base64url');

/** Undefined when it is no cursor of ours. */
function parseCursor(cursor: string): string | undefined {
  const hex = Buffer.from(cursor, 'base64url').toString('hex');
  return hex.length === 32 ? toUuid(hex) : undefined;
}
