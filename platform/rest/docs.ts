import type { FastifyInstance } from 'fastify';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';

/** Swagger UI's own files, put here by `npm run setup`. */
const folder = new URL('generated/swagger-ui/', import.meta.url);
const FILES: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
};

const SCRIPT = "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#docs', deepLinking: true, validatorUrl: null });";

const page = (title: string) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>${SCRIPT}</script>
</body>
</html>
`;

/** Nothing but this server; the inline styles are Swagger UI's. */
const POLICY = [
  "default-src 'none'",
  `script-src 'self' 'sha256-${createHash('sha256').update(SCRIPT).digest('base64')}'`,
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const NOT_BUILT =
  'Swagger UI is not in this installation: run `npm run setup` with the development packages installed.\n';

/** Serves `GET /openapi.json`, and at `GET /docs` a page to read it and to try it out. Open to everybody: they hold no data. */
export function registerDocs(app: FastifyInstance, document: { info?: { title?: string } } & object): void {
  const text = JSON.stringify(document);
  app.get('/openapi.json', (_request, reply) =>
    reply.type('application/json; charset=utf-8').header('cache-control', 'no-cache').send(text),
  );
  app.get('/docs', (_request, reply) => {
    if (!existsSync(folder)) return reply.code(503).type('text/plain; charset=utf-8').send(NOT_BUILT);
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', POLICY)
      .send(page(document.info?.title ?? 'API'));
  });
  for (const [name, type] of Object.entries(FILES)) {
    app.get(`/docs/${name}`, (_request, reply) => {
      const file = new URL(name, folder);
      if (!existsSync(file)) return reply.callNotFound();
      return reply.type(type).header('cache-control', 'public, max-age=3600').send(readFileSync(file));
    });
  }
}
