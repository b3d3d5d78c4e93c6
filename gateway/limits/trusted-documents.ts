import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Logger } from '../../platform/logger.ts';
import { refuse, type Refusal } from '../../platform/refusal.ts';

export type TrustedDocumentsConfig = {
  /** `log`: others are let through and told of, once each. `enforce`: others are refused. */
  mode: 'off' | 'log' | 'enforce';
  /** A manifest of Apollo's form: the documents that applications were built with. */
  path: string | null;
};

const manifestSchema = z.object({
  format: z.literal('apollo-persisted-query-manifest'),
  version: z.literal(1),
  operations: z.array(z.object({ id: z.string(), body: z.string() })),
});

export type TrustedDocuments = {
  /** Looks at a GraphQL request before it is parsed. A request that names a document by its id alone gets the document. */
  admit(request: FastifyRequest): Refusal | null;
  /** The same for an operation that came otherwise than by POST or GET /graphql. */
  admitOperation(operation: Operation): Refusal | null;
};

/**
 * Documents that are known to be our applications' own. Herald's REST paths are not asked: theirs are part of the program.
 * @throws Error when the manifest can't be read
 */
export async function createTrustedDocuments(
  { mode, path }: TrustedDocumentsConfig,
  log: Logger,
): Promise<TrustedDocuments> {
  if (mode === 'off') return { admit: () => null, admitOperation: () => null };
  const documents = await readManifest(path);
  const told = new Set<string>();
  log.info({ mode, documents: documents.size }, 'trusted documents are loaded');

  const admitOperation = (operation: Operation): Refusal | null => {
    const asked = operation.extensions?.persistedQuery?.sha256Hash;
    if (operation.query === undefined && asked !== undefined) {
      operation.query = documents.get(asked);
      // What Apollo would look for in its own store is not there.
      if (operation.query !== undefined) delete operation.extensions?.persistedQuery;
    }
    const id = operation.query === undefined ? asked : digestOf(operation.query);
    if (id !== undefined && documents.has(id)) return null;
    if (mode === 'enforce')
      return refuse('UNTRUSTED_DOCUMENT', 'this document is none of the trusted ones: add it to the manifest');
    if (id !== undefined && !told.has(id) && told.size < MAX_TOLD) {
      told.add(id);
      log.warn({ id, operationName: operation.operationName }, 'a document that is none of the trusted ones');
    }
    return null;
  };

  return {
    admit(request) {
      if (request.method !== 'GET') return isOperation(request.body) ? admitOperation(request.body) : null;
      const asked = readSearch(request.url);
      if (!isOperation(asked)) return null;
      const isById = asked.query === undefined;
      const refused = admitOperation(asked);
      // Of a GET Apollo reads the address.
      if (isById && asked.query !== undefined) request.raw.url = toUrl(request.url, asked.query);
      return refused;
    },
    admitOperation,
  };
}

async function readManifest(path: string | null): Promise<Map<string, string>> {
  if (path === null) throw new Error('TRUSTED_DOCUMENTS needs TRUSTED_DOCUMENTS_PATH, the manifest of the documents');
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Error(`TRUSTED_DOCUMENTS_PATH can't be read: ${path}`, { cause });
  });
  const parsed = manifestSchema.safeParse(parseJson(text));
  if (!parsed.success)
    throw new Error(`TRUSTED_DOCUMENTS_PATH is no manifest of persisted queries: ${z.prettifyError(parsed.error)}`);
  // By what is in them, whatever the manifest calls them.
  return new Map(
    parsed.data.operations.flatMap(({ id, body }) => [[digestOf(body), body] as const, [id, body] as const]),
  );
}

/** What a GET asks, by the same rules as Apollo's: two readings of one address could let something by. */
function readSearch(url: string): unknown {
  const { extensions, ...rest } = Object.fromEntries(new URL(url, BASE).searchParams);
  return { ...rest, ...(extensions !== undefined && { extensions: parseJson(extensions) }) };
}

function toUrl(url: string, query: string): string {
  const { pathname, searchParams } = new URL(url, BASE);
  searchParams.delete('extensions');
  searchParams.set('query', query);
  return `${pathname}?${searchParams.toString()}`;
}

/** Only to have a whole URL. */
const BASE = 'http://gateway';

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** As a client sends it. */
export type Operation = {
  query?: string | undefined;
  operationName?: string | null | undefined;
  variables?: Record<string, unknown> | null | undefined;
  extensions?: { persistedQuery?: { sha256Hash?: string } } | null | undefined;
};

/** Whatever else it is, Apollo refuses it. */
export const isOperation = (value: unknown): value is Operation =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  (!('query' in value) || typeof value.query === 'string');

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');

const MAX_TOLD = 10_000;
