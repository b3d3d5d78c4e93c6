import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { StatusEvent } from '../../contracts/events.ts';
import type { Admission } from '../../platform/admission.ts';
import { sendProblem } from '../../platform/problem.ts';
import { isRefusal, refuse, type Refusal } from '../../platform/refusal.ts';
import { toRequestContext } from '../../platform/request-context.ts';
import type { StreamTokens } from '../../platform/stream-token.ts';
import { whenClosed, type EventStream, type EventStreams } from './event-stream.ts';
import { CREDENTIAL_ENDED, type Session, type SessionEnd, type Sessions } from './sessions.ts';
import { openStatusStream, type StreamSources } from './status-stream.ts';

export type PlainSseDependencies = {
  sessions: Sessions;
  admission: Pick<Admission, 'admit'>;
  streams: EventStreams;
  sources: StreamSources;
  tokens: Pick<StreamTokens, 'parseToken'>;
  countEnd: (reason: string) => void;
};

/** What is given several times comes as a list. */
type Query = { stream_token?: string | string[]; last_event_id?: string | string[] };

/**
 * `GET /api/v1/notifications/{id}/events`: the status of one notification as server-sent events, for clients without GraphQL. Event ids are
 * cursors, so whoever comes back with `Last-Event-ID`, as browsers do by themselves, misses nothing.
 */
export function registerPlainSse(app: FastifyInstance, deps: PlainSseDependencies): void {
  const { sessions, admission, streams, sources, tokens, countEnd } = deps;

  const openSession = (
    request: FastifyRequest,
    notificationId: string,
    token: string | string[] | undefined,
    end: (why: SessionEnd) => void,
  ): Promise<Session | Refusal> | Session | Refusal => {
    if (token === undefined) return sessions.open(request.headers, end);
    const grant = tokens.parseToken(token);
    if (grant === null || grant.notificationId !== notificationId.toLowerCase())
      return refuse(
        'UNAUTHENTICATED',
        'the stream_token is not for this notification, or its 60 s are over: ask for another',
      );
    const session = sessions.admit({ ...grant.viewer, scopes: ['notifications:read'] });
    if (isRefusal(session)) return session;
    // The credential that made the token is not at hand to be looked at again.
    const timer = setTimeout(() => end('expired'), TOKEN_STREAM_MS);
    return {
      viewer: session.viewer,
      close() {
        clearTimeout(timer);
        session.close();
      },
    };
  };

  app.get<{ Params: { id: string }; Querystring: Query }>(
    '/api/v1/notifications/:id/events',
    // An answer without a body would never end.
    { exposeHeadRoute: false },
    async (request, reply) => {
      const { stream_token: token, last_event_id: lastEventId } = request.query;
      const fail = ({ code, message, faults, retryAfterSeconds }: Refusal) =>
        sendProblem(reply, { code, detail: message, faults, retryAfterSeconds });
      const full = streams.admit();
      if (full !== null) return fail(full);
      const end = new AbortController();
      const session = await openSession(request, request.params.id, token, (why) => end.abort(why));
      const limited = await admission.admit(isRefusal(session) ? null : session.viewer, request, reply);
      if (isRefusal(session)) return fail(limited ?? session);
      whenClosed(reply.raw, () => session.close());
      if (limited !== null) return fail(limited);

      const after = request.headers['last-event-id'] ?? lastEventId;
      if (Array.isArray(after)) return fail(refuse('BAD_USER_INPUT', 'last_event_id is there twice', 'last_event_id'));
      const asked = { notificationId: request.params.id, after: after === undefined || after === '' ? null : after };
      let stream: EventStream | undefined = undefined;
      const statuses = await openStatusStream(sources, asked, toRequestContext(request, session.viewer), {
        onEnd({ kind }) {
          countEnd(kind);
          // It comes back, behind the last that it has.
          if (kind === 'slow') stream?.end();
        },
      });
      if (isRefusal(statuses)) return fail(inRestWords(statuses));

      if (end.signal.aborted) {
        statuses.leave();
        return fail(CREDENTIAL_ENDED);
      }
      stream = streams.open(reply, () => statuses.leave());
      end.signal.addEventListener('abort', () => {
        countEnd(String(end.signal.reason));
        stream?.end();
      });
      for (let told = await statuses.next(); told !== null; told = await statuses.next()) {
        statuses.pass(told);
        const data = JSON.stringify(toBody(told.event));
        if (!(await stream.send({ event: 'status', id: told.cursor, data }))) break;
      }
      const ended = statuses.end();
      if (ended?.kind === 'refused') {
        const { code, message } = ended.refusal;
        await stream.send({ event: 'problem', data: JSON.stringify({ code, detail: message }) });
      }
      stream.end();
      return reply;
    },
  );
}

/** In the words of the REST paths. */
const toBody = (event: StatusEvent) => ({
  notification_id: event.notificationId,
  status: event.status,
  previous_status: event.previousStatus,
  reason: event.reason,
  attempt: event.attempt,
  at: event.at,
});

const FIELDS: Record<string, string> = { after: 'Last-Event-ID', notificationId: 'notification_id' };

function inRestWords(refusal: Refusal): Refusal {
  const say = (text: string) => text.replace(/^(after|notificationId)\b/, (name) => FIELDS[name] ?? name);
  return {
    ...refusal,
    message: say(refusal.message),
    faults: refusal.faults.map((fault) => ({
      ...fault,
      field: FIELDS[fault.field] ?? fault.field,
      message: say(fault.message),
    })),
  };
}

/** A browser comes back with a new token and the last event's id. */
const TOKEN_STREAM_MS = 15 * 60 * 1_000;
