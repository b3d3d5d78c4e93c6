// Builds cli/generated/herald.js, the `herald` command: one file of plain JavaScript, for Node doesn't strip types in node_modules.
import { build } from 'esbuild';

await build({
  entryPoints: ['cli/herald.ts'],
  outfile: 'cli/generated/herald.js',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  banner: { js: '#!/usr/bin/env node' },
  logLevel: 'warning',
});
