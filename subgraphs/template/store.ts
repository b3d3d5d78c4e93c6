import { PrismaPg } from '@prisma/adapter-pg';
import { createBatcher } from '../../platform/batch.ts';
import { withTransaction, type Pool, type PoolClient } from '../../platform/postgres.ts';
import { PrismaClient, type Prisma } from '../../prisma/template/generated/client.ts';
import type { DeclaredVariable } from '../rendering/declared-variables.ts';
import type { TemplateContent } from '../rendering/render-message.ts';

export type TemplateStore = ReturnType<typeof createStore>;

/** Everything that touches templates_db. Concurrent calls of a function that takes one key share one statement. */
export function createStore(pool: Pool) {
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });

  return {
    /** Creates a template with its published version 1; null when the code is taken. */
    insertTemplate: (template: NewTemplate): Promise<TemplateRow | null> =>
      withTransaction(pool, async (client) => {
        const { code, defaultLocale, sensitive, unsubscribable, version } = template;
        const { rows } = await client.query<TemplateRow>(
          `INSERT INTO template (code, default_locale, sensitive, unsubscribable) VALUES ($1, $2, $3, $4)
           ON CONFLICT DO NOTHING RETURNING ${TEMPLATE_COLUMNS}`,
          [code, defaultLocale, sensitive, unsubscribable],
        );
        const [row] = rows;
        if (row === undefined) return null;
        const locked = lockedTemplate(client, code);
        const number = await locked.insertVersion(version);
        const { createdBy: by, reason } = version;
        return locked.publish({ number, kind: 'PUBLISHED', by, reason });
      }),

    findTemplate: (code: string): Promise<TemplateRow | null> => prisma.template.findUnique({ where: { code } }),

    /** A page in the order of the codes, and one more row when there are more. */
    async findTemplates({ search, after, take }: { search: string | null; after: string | null; take: number }) {
      const { rows } = await pool.query<TemplateRow>(
        `SELECT ${TEMPLATE_COLUMNS} FROM template
         WHERE ($1::text IS NULL OR strpos(code, lower($1)) > 0) AND ($2::text IS NULL OR code > $2)
         ORDER BY code LIMIT $3`,
        [search, after, take],
      );
      return rows;
    },

    findVersion: createBatcher(async (asked: VersionKey[]) => {
      const rows = await selectVersions(pool, asked);
      return asked.map(({ code, number }) => rows.find((row) => row.code === code && row.number === number) ?? null);
    }, BATCH),

    /** A page, newest first, and one more row when there are more. */
    findVersions: createBatcher(
      (asked: PageOf[]) =>
        selectPages<VersionRow>(
          pool,
          asked,
          `SELECT ${VERSION_COLUMNS} FROM ${VERSIONS}
           WHERE v.code = asked.code AND v.number < coalesce(asked.before, 2147483647)
           ORDER BY v.number DESC LIMIT asked.take`,
        ),
      BATCH,
    ),

    /** Every language of a version. */
    findContents: createBatcher((asked: VersionKey[]) => selectContents(pool, asked), BATCH),

    /** A page, newest first, and one more row when there are more. */
    findPublications: createBatcher(
      (asked: PageOf[]) =>
        selectPages<PublicationRow>(
          pool,
          asked,
          `SELECT ${PUBLICATION_COLUMNS} FROM template_publication p
           WHERE p.code = asked.code AND p.sequence < coalesce(asked.before, 2147483647)
           ORDER BY p.sequence DESC LIMIT asked.take`,
        ),
      BATCH,
    ),

    /** The languages of every version of a template that was ever published. */
    findPublishedLocales: createBatcher(async (codes: string[]) => {
      const { rows } = await pool.query<{ code: string; locales: string[] }>(
        `SELECT p.code, array_agg(DISTINCT c.locale) AS locales
         FROM template_publication p JOIN template_content c USING (code, number)
         WHERE p.code = ANY($1) GROUP BY p.code`,
        [codes],
      );
      return codes.map((code) => rows.find((row) => row.code === code)?.locales ?? []);
    }, BATCH),

    /**
     * Runs rules on a template that nobody else changes until they end; what they throw or refuse leaves it as it was.
     * @returns null when there is no such template
     */
    withTemplate: <T>(
      code: string,
      work: (template: TemplateRow, locked: LockedTemplate) => Promise<T>,
    ): Promise<T | null> =>
      withTransaction(pool, async (client) => {
        const { rows } = await client.query<TemplateRow>(
          `SELECT ${TEMPLATE_COLUMNS} FROM template WHERE code = $1 FOR UPDATE`,
          [code],
        );
        return rows[0] === undefined ? null : work(rows[0], lockedTemplate(client, code));
      }),

    stop: () => prisma.$disconnect(),
  };
}

export type LockedTemplate = ReturnType<typeof lockedTemplate>;

/** What can be done with a template whose row this transaction holds. */
const lockedTemplate = (client: PoolClient, code: string) => ({
  findVersion: async (number: number): Promise<(VersionRow & { contents: TemplateContent[] }) | null> => {
    const [version] = await selectVersions(client, [{ code, number }]);
    if (version === undefined) return null;
    const [contents = []] = await selectContents(client, [{ code, number }]);
    return { ...version, contents };
  },

  /** Oldest first. */
  async findHistory(): Promise<Pick<PublicationRow, 'number' | 'kind'>[]> {
    const { rows } = await client.query<Pick<PublicationRow, 'number' | 'kind'>>(
      'SELECT number, kind FROM template_publication WHERE code = $1 ORDER BY sequence',
      [code],
    );
    return rows;
  },

  /** @returns its number, the next one */
  async insertVersion({ contents, declared, basedOn, reason, createdBy }: NewVersion): Promise<number> {
    const { rows } = await client.query<{ number: number }>(
      `WITH version AS (
         INSERT INTO template_version (code, number, based_on, variables, reason, created_by)
         SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5 FROM template_version WHERE code = $1
         RETURNING number
       ), content AS (
         INSERT INTO template_content (code, number, locale, email, push)
         SELECT $1, version.number, given.locale, given.email, given.push
         FROM version, jsonb_to_recordset($6) AS given(locale text, email jsonb, push jsonb)
       )
       SELECT number FROM version`,
      [code, basedOn, JSON.stringify(declared), reason, createdBy, JSON.stringify(contents)],
    );
    return Number(rows[0]?.number);
  },

  async publish({ number, kind, by, reason }: NewPublication): Promise<TemplateRow> {
    const { rows } = await client.query<TemplateRow>(
      `WITH published AS (
         INSERT INTO template_publication (code, sequence, number, kind, reason, by)
         SELECT $1, coalesce(max(sequence), 0) + 1, $2, $3, $4, $5 FROM template_publication WHERE code = $1
       )
       UPDATE template SET current_version = $2, updated_at = now() WHERE code = $1 RETURNING ${TEMPLATE_COLUMNS}`,
      [code, number, kind, reason, by],
    );
    return rows[0] as TemplateRow;
  },

  async update({ defaultLocale, sensitive, unsubscribable }: TemplateSettings): Promise<TemplateRow> {
    const { rows } = await client.query<TemplateRow>(
      `UPDATE template SET default_locale = $2, sensitive = $3, unsubscribable = $4, updated_at = now()
       WHERE code = $1 RETURNING ${TEMPLATE_COLUMNS}`,
      [code, defaultLocale, sensitive, unsubscribable],
    );
    return rows[0] as TemplateRow;
  },
});

/** In the order of the question. */
async function selectContents(db: Pool | PoolClient, asked: VersionKey[]): Promise<TemplateContent[][]> {
  const { rows } = await db.query<VersionKey & TemplateContent>(
    `SELECT DISTINCT c.code, c.number, c.locale, c.email, c.push
     FROM unnest($1::text[], $2::integer[]) AS asked(code, number) JOIN template_content c USING (code, number)
     ORDER BY c.locale`,
    [asked.map(({ code }) => code), asked.map(({ number }) => number)],
  );
  return asked.map(({ code, number }) => rows.filter((row) => row.code === code && row.number === number));
}

async function selectVersions(db: Pool | PoolClient, asked: VersionKey[]): Promise<VersionRow[]> {
  const { rows } = await db.query<VersionRow>(
    `SELECT ${VERSION_COLUMNS} FROM unnest($1::text[], $2::integer[]) AS asked(code, number) JOIN ${VERSIONS} ON v.code = asked.code AND v.number = asked.number`,
    [asked.map(({ code }) => code), asked.map(({ number }) => number)],
  );
  return rows;
}

/** One page for each question, in their order. @param page reads the page of `asked`: code, before, take */
async function selectPages<Row>(pool: Pool, asked: PageOf[], page: string): Promise<Row[][]> {
  const { rows } = await pool.query<Row & { index: number }>(
    `SELECT asked.index::integer - 1 AS index, page.*
     FROM unnest($1::text[], $2::integer[], $3::integer[]) WITH ORDINALITY AS asked(code, before, take, index)
     CROSS JOIN LATERAL (${page}) page`,
    [asked.map(({ code }) => code), asked.map(({ before }) => before), asked.map(({ take }) => take)],
  );
  const pages = asked.map((): Row[] => []);
  for (const { index, ...row } of rows) pages[index]?.push(row as Row);
  return pages;
}

/** Several at a time, so that one slow answer does not hold up everybody behind it. */
const BATCH = { maxItems: 200, maxInFlight: 4 };

const TEMPLATE_COLUMNS = `code, default_locale AS "defaultLocale", current_version AS "currentVersion", sensitive, unsubscribable,
  created_at AS "createdAt", updated_at AS "updatedAt"`;

const VERSIONS = `template_version v LEFT JOIN LATERAL (
  SELECT at, by FROM template_publication WHERE code = v.code AND number = v.number ORDER BY sequence DESC LIMIT 1
) published ON true`;

const VERSION_COLUMNS = `v.code, v.number, v.based_on AS "basedOn", v.variables AS declared, v.reason, v.created_at AS "createdAt",
  v.created_by AS "createdBy", published.at AS "publishedAt", published.by AS "publishedBy"`;

const PUBLICATION_COLUMNS = 'p.sequence, p.number, p.kind, p.reason, p.at, p.by';

type VersionKey = { code: string; number: number };

/** Rows of one template below `before` (null: from the newest on). */
type PageOf = { code: string; before: number | null; take: number };

export type TemplateRow = Prisma.TemplateGetPayload<object>;

/** The JSON columns hold what version-input.ts checked. */
export type VersionRow = {
  code: string;
  number: number;
  basedOn: number | null;
  declared: DeclaredVariable[];
  reason: string | null;
  createdAt: Date;
  createdBy: string;
  publishedAt: Date | null;
  publishedBy: string | null;
};

export type PublicationRow = {
  sequence: number;
  number: number;
  kind: 'PUBLISHED' | 'ROLLED_BACK';
  reason: string | null;
  at: Date;
  by: string;
};

export type TemplateSettings = { defaultLocale: string; sensitive: boolean; unsubscribable: boolean };

export type NewVersion = {
  contents: TemplateContent[];
  declared: DeclaredVariable[];
  basedOn: number | null;
  reason: string | null;
  createdBy: string;
};

export type NewTemplate = TemplateSettings & { code: string; version: NewVersion };

type NewPublication = { number: number; kind: PublicationRow['kind']; by: string; reason: string | null };
