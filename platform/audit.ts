import { defaultFieldResolver, GraphQLError, type GraphQLSchema } from 'graphql';
import { v7 as uuidv7 } from 'uuid';
import { createPages, type AskedPage, type Connection } from './page.ts';
import type { Pool } from './postgres.ts';
import { refuse, toGraphQLError, unavailable, type Refusal } from './refusal.ts';
import { badStringIn, faultOfLine, isUuid } from './text.ts';
import type { SignedContext } from './trust.ts';

/** The one trail; each service tells its own part. */
export type AuditReference = { id: string };

export type AuditRow = {
  id: string;
  at: Date;
  action: string;
  byKind: string;
  by: string;
  keyId: string | null;
  address: string | null;
  requestId: string;
  target: Record<string, unknown>;
  outcome: string | null;
};

const pages = createPages<AuditRow>({ kind: 'audit', keyOf: ({ id }) => id, isKey: isUuid });

/**
 * Makes a schema write down every act of a mutation with @audit: before it, and what came of it after. What can't be written down is not
 * done. What users do to themselves is theirs alone.
 */
export function auditMutations(schema: GraphQLSchema, pool: Pool): GraphQLSchema {
  for (const field of Object.values(schema.getMutationType()?.getFields() ?? {})) {
    if (field.astNode?.directives?.some(({ name }) => name.value === 'audit') !== true) continue;
    const resolve = field.resolve ?? defaultFieldResolver;
    field.resolve = async (source, args: Record<string, unknown>, context: SignedContext, info) => {
      if (context.viewer.kind === 'user') return resolve(source, args, context, info);
      const id = await begin(pool, field.name, args, context).catch(() => {
        throw toGraphQLError(unavailable('the act could not be written down, so it was not done: try again', 2));
      });
      const end = (outcome: string) => pool.query('UPDATE audit SET outcome = $2 WHERE id = $1', [id, outcome]);
      try {
        const result: unknown = await resolve(source, args, context, info);
        await end('done');
        return result;
      } catch (error) {
        const code = error instanceof GraphQLError ? error.extensions.code : undefined;
        // The act's own error counts.
        await end(typeof code === 'string' ? code : 'failed').catch(() => {});
        throw error;
      }
    };
  }
  return schema;
}

async function begin(pool: Pool, action: string, args: Record<string, unknown>, context: SignedContext) {
  const { viewer, address, requestId } = context;
  const id = uuidv7();
  await pool.query(
    `INSERT INTO audit (id, action, viewer_kind, viewer_id, key_id, address, request_id, target)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      id,
      action,
      viewer.kind,
      viewer.id,
      viewer.keyId ?? null,
      address ?? null,
      requestId,
      JSON.stringify(toTarget(args)),
    ],
  );
  return id;
}

/** Told whole: they name what was acted upon, or why. */
const TOLD = new Set([
  'id',
  'userId',
  'code',
  'clientId',
  'templateCode',
  'notificationType',
  'number',
  'basedOn',
  'reason',
  'limit',
  'perSecond',
  'scopes',
  'filter',
]);

/** Of everything else only the name: values may be secrets, or people's. */
function toTarget(args: Record<string, unknown>): Record<string, unknown> {
  const { input, ...others } = args;
  const entries = Object.entries({ ...others, ...(typeof input === 'object' ? input : {}) });
  const set = entries.flatMap(([name, value]) => (TOLD.has(name) || value === undefined ? [] : [name]));
  return {
    ...Object.fromEntries(entries.filter(([name, value]) => TOLD.has(name) && value != null && isShort(value))),
    ...(set.length > 0 && { set }),
  };
}

const isShort = (value: unknown) => JSON.stringify(value).length <= 4_000 && badStringIn(value, '') === null;

/** One page of this service's part, newest first. */
export async function readAudit(
  pool: Pool,
  { by, action, ...asked }: AskedPage & { by?: string | null; action?: string | null },
): Promise<Connection<AuditRow> | Refusal> {
  for (const [field, text] of [
    ['by', by],
    ['action', action],
  ] as const) {
    const fault = text == null ? null : faultOfLine(text, { max: 100 });
    if (fault !== null) return refuse('BAD_USER_INPUT', `${field} ${fault}`, field, 'INVALID');
  }
  return pages.read(asked, async (after, take) => {
    const { rows } = await pool.query<AuditRow>(
      `SELECT id, at, action, viewer_kind AS "byKind", viewer_id AS by, key_id AS "keyId", address, request_id AS "requestId", target, outcome
       FROM audit
       WHERE ($1::text IS NULL OR viewer_id = $1) AND ($2::text IS NULL OR action = $2) AND ($3::uuid IS NULL OR id < $3)
       ORDER BY id DESC LIMIT $4`,
      [by ?? null, action ?? null, after, take],
    );
    return rows;
  });
}
