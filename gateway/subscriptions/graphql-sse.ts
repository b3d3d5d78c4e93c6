import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Admission } from '../../platform/admission.ts';
import { isRefusal, refuse, STATUS_OF, toGraphQLError, type Refusal } from '../../platform/refusal.ts';
import { toRequestContext } from '../../platform/request-context.ts';
import type { Logger } from '../../platform/logger.ts';
import type { SignedContext } from '../../platform/trust.ts';
import { isOperation, type Operation, type TrustedDocuments } from '../limits/trusted-documents.ts';
import type { Prepared } from './engine.ts';
import { whenClosed, type EventStream, type EventStreams } from './event-stream.ts';
import { faultsOf, type Show } from './faults.ts';
import { CREDENTIAL_ENDED, type Session, type Sessions } from './sessions.ts';
import type { OnEnd, Subscribe } from './subscribe.ts';

export type GraphqlSseDependencies = {
  sessions: Sessions;
  admission: Pick<Admission, 'admit'>;
  trusted: TrustedDocuments;
  streams: EventStreams;
  prepare: (request: Operation) => Prepared;
  subscribe: Subscribe;
  show: Show;
  countEnd: (reason: string) => void;
  log: Logger;
};

/**
 * GraphQL over server-sent events, each subscription an answer of its own ("distinct connections mode",
 * https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md).
 */
export function registerGraphqlSse(app: FastifyInstance, path: string, deps: GraphqlSseDependencies): void {
  const sessions = new WeakMap<FastifyRequest, { session: Session; end: AbortController }>();
  app.route({
    method: ['GET', 'POST'],
    url: path,
    // An answer without a body would never end.
    exposeHeadRoute: false,
    onRequest: async (request, reply) => {
      const full = deps.streams.admit();
      if (full !== null) return refuseHttp(reply, full);
      const end = new AbortController();
      const session = await deps.sessions.open(request.headers, (why) => end.abort(why));
      const refused = await deps.admission.admit(isRefusal(session) ? null : session.viewer, request, reply);
      if (isRefusal(session)) return refuseHttp(reply, refused ?? session);
      if (refused !== null) {
        session.close();
        return refuseHttp(reply, refused);
      }
      // Whatever becomes of the request.
      whenClosed(reply.raw, () => session.close());
      sessions.set(request, { session, end });
      return undefined;
    },
    handler: async (request, reply) => {
      const { session, end } = sessions.get(request) as { session: Session; end: AbortController };
      const accept = request.headers.accept ?? '';
      if (accept !== '' && !/text\/event-stream|text\/\*|\*\/\*/.test(accept))
        return refuseHttp(
          reply,
          refuse('BAD_USER_INPUT', 'this answers events: send the header accept: text/event-stream'),
          406,
        );
      let stream: EventStream | undefined = undefined;
      const subscription = await begin(request, toRequestContext(request, session.viewer), ({ kind }) => {
        deps.countEnd(kind);
        // Without a goodbye, so that it comes back, behind the last that it has.
        if (kind === 'slow') stream?.end();
      });

      const leave = () => {
        if ('next' in subscription) void subscription.return();
      };
      // While the body was on its way.
      if (end.signal.aborted) {
        leave();
        return refuseHttp(reply, CREDENTIAL_ENDED);
      }
      stream = deps.streams.open(reply, leave);
      const { send } = stream;
      const next = (result: unknown) => send({ event: 'next', data: JSON.stringify(result) });
      end.signal.addEventListener('abort', () => {
        deps.countEnd(String(end.signal.reason));
        stream?.end();
      });
      if ('next' in subscription) {
        for await (const result of subscription) if (!(await next(result))) break;
      } else await next(subscription);
      await send({ event: 'complete', data: '' });
      stream.end();
      return reply;
    },
  });

  /** A refusal is told within the stream: a client of this protocol reads it there. */
  async function begin(request: FastifyRequest, context: SignedContext, onEnd: OnEnd) {
    try {
      const asked = request.method === 'GET' ? readQuery(request.query) : request.body;
      if (!isOperation(asked))
        throw toGraphQLError(refuse('BAD_USER_INPUT', 'the request needs a query', 'query', 'REQUIRED'));
      const untrusted = deps.trusted.admitOperation(asked);
      if (untrusted !== null) throw toGraphQLError(untrusted);
      return await deps.subscribe(deps.prepare(asked), context, onEnd);
    } catch (error) {
      const faults = faultsOf(error);
      if (faults === null) throw error;
      return { errors: faults.map((fault) => deps.show(fault, context.requestId)) };
    }
  }
}

function readQuery(query: unknown): unknown {
  if (typeof query !== 'object' || query === null) return null;
  const parse = (text: unknown) => {
    try {
      return typeof text === 'string' ? (JSON.parse(text) as unknown) : undefined;
    } catch {
      throw toGraphQLError(refuse('BAD_USER_INPUT', 'variables is no JSON', 'variables', 'INVALID'));
    }
  };
  const { variables, extensions, ...rest } = query as Record<string, unknown>;
  return { ...rest, variables: parse(variables), extensions: parse(extensions) };
}

function refuseHttp(
  reply: FastifyReply,
  { code, message, retryAfterSeconds }: Refusal,
  status: number = STATUS_OF[code],
) {
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
  if (code === 'UNAUTHENTICATED') void reply.header('www-authenticate', 'Bearer');
  const extensions = { code, retryAfterSeconds, requestId: reply.request.id };
  return reply.code(status).send({ errors: [{ message, extensions }] });
}
