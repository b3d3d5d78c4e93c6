import { mkdir, writeFile } from 'node:fs/promises';
import { composeWithHerald } from './compose.ts';
import { readConfig } from './config.ts';
import { startHostGraph } from './serve.ts';

const FOLDER = new URL('./generated/', import.meta.url);

const config = readConfig();
await mkdir(FOLDER, { recursive: true });
await writeFile(new URL('supergraph.graphql', FOLDER), await composeWithHerald());
const host = await startHostGraph(config);
console.log(`the shop's subgraph is up at ${host.url}, and examples/host-graph/generated/supergraph.graphql composed`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void host.stop());
