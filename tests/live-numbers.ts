import { once } from 'node:events';
import { createServer } from 'node:http';
import {
  execute,
  subscribe,
  validate,
  GraphQLError,
  GraphQLInt,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
} from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer, type WebSocket } from 'ws';

/**
 * Starts a real graphql-transport-ws server whose only subscription counts: `numbers(after)` goes on behind its cursor, one each
 * few milliseconds, up to 10.
 * @param options.onNumber called before a number goes out; it may cut the socket, throw, or let it wait
 * @param options.squareOf gives an event's `square`, which may be missing, and its `wholeSquare`, without which there is no event
 * @param options.onConnect whether whoever shows this may connect
 */
export async function startLiveNumbers(
  options: {
    onNumber?: (number: number, socket: WebSocket) => unknown;
    squareOf?: (number: number) => number;
    onConnect?: (authorization: unknown) => boolean;
  } = {},
) {
  const connections: { authorization: unknown; closed: Promise<number> }[] = [];
  const http = createServer();
  const sockets = new WebSocketServer({ server: http, path: '/graphql' });
  const server = useServer<{ authorization?: unknown }>(
    {
      // Of the same copy of the package as the schema, which the test runner loads by itself.
      ...{ execute, subscribe, validate },
      schema: createSchema(options.onNumber ?? (() => {}), options.squareOf ?? ((number) => number ** 2)),
      context: ({ extra }) => extra,
      onConnect: ({ connectionParams, extra: { socket } }) => {
        const authorization = connectionParams?.authorization;
        connections.push({ authorization, closed: once(socket, 'close').then(([code]) => Number(code)) });
        return options.onConnect?.(authorization) ?? true;
      },
    },
    sockets,
  );
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = http.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    connections,
    async stop() {
      await server.dispose();
      http.close();
      await once(http, 'close');
    },
  };
}

const LAST = 10;

function createSchema(
  onNumber: (number: number, socket: WebSocket) => unknown,
  squareOf: (number: number) => number,
): GraphQLSchema {
  const resolve = ({ number }: { number: number }) => squareOf(number);
  const event = new GraphQLObjectType({
    name: 'NumberEvent',
    fields: {
      cursor: { type: GraphQLString },
      number: { type: GraphQLInt },
      square: { type: GraphQLInt, resolve },
      wholeSquare: { type: new GraphQLNonNull(GraphQLInt), resolve },
    },
  });
  return new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', fields: { last: { type: GraphQLInt } } }),
    subscription: new GraphQLObjectType({
      name: 'Subscription',
      fields: {
        numbers: {
          type: new GraphQLNonNull(event),
          args: { after: { type: GraphQLString } },
          async *subscribe(_: unknown, { after }: { after?: string | null }, { socket }: { socket: WebSocket }) {
            if (after === 'too-old') throw new GraphQLError('too old', { extensions: { code: 'CURSOR_EXPIRED' } });
            for (let number = after == null ? 1 : Number(after.slice(1)) + 1; number <= LAST; number += 1) {
              await new Promise((resolve) => setImmediate(resolve));
              await onNumber(number, socket);
              yield { numbers: { cursor: `#${number}`, number } };
            }
          },
        },
      },
    }),
  });
}
