import { refuse, type Refusal } from './refusal.ts';

/** The most rows of one page, of every list. */
export const MAX_PAGE = 200;

/** What a caller asks of a list: how many, and the cursor to go on behind. */
export type AskedPage = { first: number; after?: string | null | undefined };

/** The same, checked: `after` is the key of the last row before. */
export type PageBounds = { kind: 'bounds'; first: number; after: string | null };

/** Relay's connection. */
export type Connection<Row> = {
  kind: 'connection';
  edges: { node: Row; cursor: string }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null };
};

export type Pages<Row> = ReturnType<typeof createPages<Row>>;

/**
 * How one kind of rows is read in pages, whichever list they stand in. A cursor names the kind and the row's key.
 * @param options.kind for example `notification`; a cursor of another kind is refused
 * @param options.keyOf what the list is sorted by, unique
 * @param options.isKey whether a text from a cursor may be one
 */
export function createPages<Row>({ kind, keyOf, isKey }: PageOptions<Row>) {
  const toCursor = (row: Row) => Buffer.from(`${kind}:${keyOf(row)}`).toString('base64url');
  const parseCursor = (cursor: string) => {
    const text = Buffer.from(cursor, 'base64url').toString();
    const key = text.startsWith(`${kind}:`) ? text.slice(kind.length + 1) : '';
    return isKey(key) ? key : null;
  };

  /** Refuses a page size out of its bounds, and a cursor that is none of these rows. */
  const toBounds = ({ first, after }: AskedPage): PageBounds | Refusal => {
    if (first < 1 || first > MAX_PAGE)
      return refuse('BAD_USER_INPUT', `first must be 1 to ${MAX_PAGE}`, 'first', 'INVALID');
    const key = after == null ? null : parseCursor(after);
    return key === null && after != null
      ? refuse('BAD_USER_INPUT', 'after must be the cursor of a page before of this list', 'after', 'INVALID')
      : { kind: 'bounds', first, after: key };
  };

  /** @param rows those of the page, and one more when there are more */
  const toConnection = (rows: readonly Row[], { first, after }: PageBounds): Connection<Row> => {
    const edges = rows.slice(0, first).map((node) => ({ node, cursor: toCursor(node) }));
    return {
      kind: 'connection',
      edges,
      pageInfo: {
        hasNextPage: rows.length > first,
        hasPreviousPage: after !== null,
        startCursor: edges[0]?.cursor ?? null,
        endCursor: edges.at(-1)?.cursor ?? null,
      },
    };
  };

  return {
    toBounds,
    toConnection,
    /**
     * Reads one page, or refuses its bounds.
     * @param find the rows behind the key `after` (null: from the beginning), at most `take`
     */
    async read(
      asked: AskedPage,
      find: (after: string | null, take: number) => Promise<Row[]>,
    ): Promise<Connection<Row> | Refusal> {
      const bounds = toBounds(asked);
      return bounds.kind === 'refused' ? bounds : toConnection(await find(bounds.after, bounds.first + 1), bounds);
    },
  };
}

type PageOptions<Row> = { kind: string; keyOf: (row: Row) => string; isKey: (key: string) => boolean };
