import type { FastifyRequest } from 'fastify';
import { MAX_DEPTH } from './json-depth.ts';
import { refuse, type Refusal } from './refusal.ts';

/**
 * Reads a JSON body strictly: UTF-8 that is UTF-8, uncompressed, and no name twice in one object, for readers differ in which of the
 * two they take. @returns undefined for an empty body
 */
export function parseJson(headers: FastifyRequest['headers'], body: Buffer): { json: unknown } | Refusal {
  const charset = /;\s*charset\s*=\s*"?([^\s";]+)/i.exec(headers['content-type'] ?? '')?.[1];
  if (charset !== undefined && !/^utf-?8$/i.test(charset))
    return refuse('UNSUPPORTED_MEDIA_TYPE', `send JSON in UTF-8, not in ${charset}`);
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity')
    return refuse('UNSUPPORTED_MEDIA_TYPE', `send the body as it is, not with the content-encoding ${encoding}`);
  if (body.length === 0) return { json: undefined };
  try {
    const text = UTF_8.decode(body);
    const json: unknown = JSON.parse(text);
    return refuseNames(text) ?? { json };
  } catch (error) {
    const what = error instanceof SyntaxError ? 'JSON' : 'UTF-8';
    return refuse('BAD_USER_INPUT', `the body is not valid ${what}`);
  }
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true });
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]/g;

/** Whoever takes such a body refuses it as nested too deep, by the field's name; GraphQL counts from a variable on, thus the factor. */
const UNREAD_DEPTH = 2 * MAX_DEPTH;

/** What is wrong with the names in a text that is JSON, up to where it is nested too deep. */
function refuseNames(text: string): Refusal | null {
  /** The objects and lists around a place, each with where in it that is; a list has no names. */
  const around: { names: Set<string> | null; at: string | number }[] = [];
  // At the moment that it is needed: a path as long as the nesting is deep, made for every name, would take its square.
  const refuseAt = (what: string, code: string) => {
    const field = around.map(({ at }) => at).join('.');
    return refuse('BAD_USER_INPUT', `${field} ${what}`, field, code);
  };
  let last = '';
  for (const [token] of text.matchAll(TOKEN)) {
    if (around.length > UNREAD_DEPTH) return null;
    const inner = around.at(-1);
    switch (token) {
      case '{':
        around.push({ names: new Set(), at: '' });
        break;
      case '[':
        around.push({ names: null, at: 0 });
        break;
      case '}':
      case ']':
        around.pop();
        break;
      case ',':
        if (typeof inner?.at === 'number') inner.at += 1;
        break;
      case ':': {
        if (!inner?.names) break;
        const name = JSON.parse(last) as string;
        inner.at = name;
        if (inner.names.has(name)) return refuseAt('is there twice', 'DUPLICATE');
        // Assigned to an object it would be its prototype.
        if (name === '__proto__') return refuseAt('is no name for a field', 'INVALID');
        inner.names.add(name);
        break;
      }
      default:
        last = token;
    }
  }
  return null;
}
