import { build, type Metafile } from 'esbuild';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Bundles GraphiQL into generated/, as files that need no network; serve.ts serves them under /graphiql/. */
const folder = fileURLToPath(new URL('generated/', import.meta.url));
const fresh = fileURLToPath(new URL('generated.new/', import.meta.url));

const common = {
  bundle: true,
  minify: true,
  target: 'es2022',
  outdir: fresh,
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  metafile: true,
  logLevel: 'warning',
} as const;

await rm(fresh, { recursive: true, force: true });
await mkdir(fresh, { recursive: true });

// GraphiQL's style sheet has Monaco's in it, so what the modules import of that is dropped below.
const parts = await build({
  ...common,
  entryPoints: {
    editor: 'monaco-editor/esm/vs/editor/editor.worker.js',
    json: 'monaco-editor/esm/vs/language/json/json.worker.js',
    graphql: 'monaco-graphql/esm/graphql.worker.js',
    style: 'graphiql/style.css',
  },
  format: 'iife',
});
const { style, ...workers } = namesOf(parts);

const page = await build({
  ...common,
  entryPoints: { page: fileURLToPath(new URL('page.tsx', import.meta.url)) },
  format: 'esm',
  splitting: true,
  jsx: 'automatic',
  loader: { '.css': 'empty' },
  define: { workerFiles: JSON.stringify(workers), 'process.env.NODE_ENV': '"production"' },
});
const { page: script } = namesOf(page);

await writeFile(
  `${fresh}index.html`,
  `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Herald · GraphQL</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="/graphiql/${style}" />
    <style>html, body, #graphiql { height: 100%; margin: 0; }</style>
  </head>
  <body>
    <div id="graphiql"></div>
    <script type="module" src="/graphiql/${script}"></script>
  </body>
</html>
`,
);

await rm(folder, { recursive: true, force: true });
await rename(fresh, folder);

/** Entry point -> file name: `{ page: 'page-EXFZABZE.js' }`. */
function namesOf({ metafile }: { metafile: Metafile }): Record<string, string> {
  const names = Object.entries(metafile.outputs).flatMap(([file, { entryPoint }]) =>
    entryPoint ? [basename(file)] : [],
  );
  return Object.fromEntries(names.map((name) => [name.slice(0, name.lastIndexOf('-')), name]));
}
