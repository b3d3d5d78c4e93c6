import { readFile } from 'node:fs/promises';
import { composeServices } from '@apollo/composition';
import { parse } from 'graphql';
import { NAME, SCHEMA } from './serve.ts';

/** The names are those that Herald's gateway has addresses for. */
const schemas = {
  user: new URL('../../subgraphs/user/schema.graphql', import.meta.url),
  template: new URL('../../subgraphs/template/schema.graphql', import.meta.url),
  notification: new URL('../../subgraphs/notification/schema.graphql', import.meta.url),
  [NAME]: SCHEMA,
};

/** Makes one graph of Herald's three subgraphs and the shop's. @throws Error when they don't fit together */
export async function composeWithHerald(): Promise<string> {
  const services = await Promise.all(
    Object.entries(schemas).map(async ([name, file]) => ({
      name,
      // The gateway takes addresses from its environment; this one only names the service.
      url: `http://${name}`,
      typeDefs: parse(await readFile(file, 'utf8')),
    })),
  );
  const { supergraphSdl, errors } = composeServices(services);
  if (supergraphSdl === undefined)
    throw new Error(`the subgraphs don't compose:\n${errors?.map(({ message }) => message).join('\n')}`);
  return supergraphSdl;
}
