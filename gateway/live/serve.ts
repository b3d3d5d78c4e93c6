import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { FastifyInstance } from 'fastify';

/** Serves `GET /live`, a page that watches statuses arrive. Whoever opens it needs a key for what it shows. */
export async function registerLivePage(app: FastifyInstance): Promise<void> {
  const page = await readFile(new URL('./page.html', import.meta.url), 'utf8');
  const script = /<script>([^]*)<\/script>/.exec(page)?.[1] ?? '';
  const policy = [
    "default-src 'none'",
    `script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`,
    "style-src 'unsafe-inline'",
    'img-src data:',
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  app.get('/live', (_request, reply) =>
    reply.type('text/html; charset=utf-8').header('content-security-policy', policy).send(page),
  );
}
