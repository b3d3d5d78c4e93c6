// Writes rest/openapi.json from the REST table, and lints it. With --check it writes nothing, and fails when the file is stale.
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { toOpenApi } from '../rest/openapi.ts';

const path = new URL('../rest/openapi.json', import.meta.url).pathname;
const read = (name) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8');

const document = toOpenApi(JSON.parse(read('package.json')).version, read('gateway/federation/supergraph.graphql'));
const text = await format(JSON.stringify(document), { ...(await resolveConfig(path)), filepath: path });

const config = await createConfig({
  extends: ['recommended-strict'],
  rules: {
    // The specification's own paths are: {notification_type}/status/ and users/{user_id}.
    'no-ambiguous-paths': 'off',
    // They are taken with and without; the specification spells them with.
    'no-path-trailing-slash': 'off',
    // Wherever it is served from.
    'no-server-example.com': 'off',
    // 429 and the like are common to all.
    'operation-4xx-response': 'error',
  },
});
const problems = await lintFromString({ source: text, absoluteRef: path, config });
for (const {
  severity,
  ruleId,
  message,
  location: [{ pointer } = {}],
} of problems)
  console.error(`${severity} ${ruleId}: ${message} (${pointer})`);
if (problems.length > 0) process.exitCode = 1;

if (process.argv.includes('--check')) {
  if (read('rest/openapi.json') !== text) {
    console.error('rest/openapi.json is stale: run npm run openapi');
    process.exitCode = 1;
  }
} else {
  writeFileSync(path, text);
}
