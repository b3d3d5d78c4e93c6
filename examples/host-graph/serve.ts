import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buildSubgraphSchema } from '@apollo/subgraph';
import { graphql, parse } from 'graphql';
import { createClient } from '../../client/client.ts';
import { createVerifier } from '../../client/verify-request.ts';
import type { HostConfig } from './config.ts';
import { createResolvers } from './customers.ts';

/** As `compose.ts` calls it, and EXTRA_SUBGRAPHS. */
export const NAME = 'customers';
export const SCHEMA = new URL('./schema.graphql', import.meta.url);

/** Starts the shop's subgraph. It answers Herald's gateway and nobody else. */
export async function startHostGraph({ port, secret, heraldUrl, apiKey }: HostConfig) {
  const resolvers = createResolvers(createClient({ url: heraldUrl, apiKey }));
  const schema = buildSubgraphSchema([{ typeDefs: parse(await readFile(SCHEMA, 'utf8')), resolvers }]);
  const verify = createVerifier({ name: NAME, secret });

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url: path = '', headers } = request;
    const body = await readBody(request);
    const contextValue = body === null ? 'the body is too large' : verify({ method, path, body, headers });
    if (body === null || typeof contextValue === 'string')
      return send(response, 401, { errors: [{ message: contextValue }] });
    const { query, variables } = JSON.parse(body.toString()) as { query: string; variables?: Record<string, unknown> };
    send(response, 200, await graphql({ schema, source: query, variableValues: variables, contextValue }));
  };
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      console.error(error);
      send(response, 500, { errors: [{ message: 'an unexpected error' }] });
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : port}`,
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** The signature is over the bytes as they came. Null when there are more than the gateway would pass on. */
async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const MAX_BYTES = 2 * 1024 * 1024;

function send(response: ServerResponse, status: number, answer: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
}
