import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';

const folder = new URL('generated/', import.meta.url);
const pageName = 'index.html';

const contentTypes: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
};

/** Nothing but this server; the inline styles are Monaco's. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "worker-src 'self' blob:",
  "style-src 'self' 'unsafe-inline'",
  "font-src 'self' data:",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const notBuilt =
  'GraphiQL is not built in this installation: run `npm run setup` with the development packages installed.\n';

/** Serves `GET /graphiql/*`: what the page loads. Only names that are in the folder exist, so no path can lead out of it. */
export function registerGraphiqlFiles(app: FastifyInstance): void {
  app.get<{ Params: { '*': string } }>('/graphiql/*', (request, reply) => {
    const name = request.params['*'];
    const content = files().get(name);
    if (!content || name === pageName) return reply.callNotFound();
    return reply
      .header('content-type', contentTypes[extname(name)] ?? 'application/octet-stream')
      .header('x-content-type-options', 'nosniff')
      .header('cache-control', 'public, max-age=31536000, immutable') // The names carry a hash of the content.
      .send(content);
  });
}

/** Whether a browser wants to show a page at this address, where every other client wants GraphQL. */
export function isGraphiqlRequest(request: FastifyRequest): boolean {
  return request.method === 'GET' && (request.headers.accept ?? '').includes('text/html');
}

/** Answers with the GraphiQL page, or with a line that says how to build it. */
export function sendGraphiql(reply: FastifyReply): FastifyReply {
  const page = files().get(pageName);
  if (!page) return reply.code(503).type('text/plain; charset=utf-8').send(notBuilt);
  return reply
    .type('text/html; charset=utf-8')
    .header('content-security-policy', contentSecurityPolicy)
    .header('x-content-type-options', 'nosniff')
    .header('referrer-policy', 'no-referrer')
    .header('cache-control', 'no-cache')
    .header('vary', 'accept')
    .send(page);
}

let loaded: Map<string, Buffer> | undefined;

/** The built files by name, read at the first request; none while the folder is missing. */
function files(): Map<string, Buffer> {
  if (loaded) return loaded;
  try {
    const found = new Map(readdirSync(folder).map((name) => [name, readFileSync(new URL(name, folder))]));
    if (found.has(pageName)) loaded = found;
    return found;
  } catch {
    return new Map();
  }
}
