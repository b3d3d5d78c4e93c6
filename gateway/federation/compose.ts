import { readFile, writeFile } from 'node:fs/promises';
import { composeServices } from '@apollo/composition';
import { parse } from 'graphql';

/** `npm run compose` writes supergraph.graphql; with `--check` it fails when the committed one is stale. */
const FILE = new URL('./supergraph.graphql', import.meta.url);
const SUBGRAPHS = ['user', 'template', 'notification'];

const composed = await compose();
if (!process.argv.includes('--check')) {
  await writeFile(FILE, composed);
} else if ((await readFile(FILE, 'utf8').catch(() => '')) !== composed) {
  console.error('gateway/federation/supergraph.graphql is stale: run "npm run compose" and commit it');
  process.exitCode = 1;
}

async function compose(): Promise<string> {
  const services = await Promise.all(
    SUBGRAPHS.map(async (name) => ({
      name,
      // The gateway takes addresses from its environment; this one only names the service.
      url: `http://${name}`,
      typeDefs: parse(await readFile(new URL(`../../subgraphs/${name}/schema.graphql`, import.meta.url), 'utf8')),
    })),
  );
  const { supergraphSdl, errors } = composeServices(services);
  if (supergraphSdl === undefined)
    throw new Error(`the subgraphs don't compose:\n${errors?.map((error) => error.message).join('\n')}`);
  return `${supergraphSdl}\n`;
}
