import type { Herald } from '../start.ts';

const DATABASES = ['user', 'template', 'notification'] as const;

/** Change by themselves, or with every act there is. */
const RESTLESS = ['feed_state', 'status_count', 'user_outbox'];

/** Every row of every table but the restless ones: `notification.request_key` → its rows as JSON, sorted. */
export async function readTables(herald: Herald): Promise<Map<string, string[]>> {
  const tables = new Map<string, string[]>();
  for (const database of DATABASES) {
    const names = await herald.sql(
      database,
      `SELECT relname AS name FROM pg_class
       WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname`,
    );
    for (const { name } of names) {
      if (RESTLESS.includes(name)) continue;
      const rows = await herald.sql(database, `SELECT to_jsonb(t)::text AS row FROM "${name}" t`);
      tables.set(`${database}.${name}`, rows.map(({ row }) => String(row)).sort());
    }
  }
  return tables;
}

/** Rows that were there and are not any more, or not as they were. */
export function lostRows(before: Map<string, string[]>, after: Map<string, string[]>): string[] {
  return [...before].flatMap(([table, rows]) => {
    const left = new Set(after.get(table));
    return rows.filter((row) => !left.has(row)).map((row) => `${table}: ${row}`);
  });
}
