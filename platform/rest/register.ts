import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { createHash } from 'node:crypto';
import type { GraphQLFormattedError } from 'graphql';
import type { Admission } from '../admission.ts';
import { refuseTooDeep } from '../json-depth.ts';
import { isRefusal, type Fault } from '../refusal.ts';
import { z } from 'zod';
import type { SignedContext, Viewer } from '../trust.ts';
import { toRequestContext } from '../request-context.ts';
import { sendProblem } from '../problem.ts';
import type { RestAnswer, RestRequest, RestRoute } from './route.ts';
import { alone, toFaults } from './faults.ts';
import { toCamelKeys, toSnakeKeys, toSnakePath } from './spelling.ts';

/** Runs one GraphQL operation through the process's own pipeline. */
export type Execute = (
  operation: string,
  variables: Record<string, unknown>,
  context: SignedContext,
) => Promise<{ data: unknown; errors: readonly GraphQLFormattedError[] }>;

export type RestDependencies = {
  authenticate(headers: FastifyRequest['headers']): Promise<Viewer | null>;
  /** Whether they may ask now. */
  admission: Admission;
  execute: Execute;
};

/** Registers every route of a table on a server. */
export function registerRoutes(
  app: FastifyInstance,
  routes: readonly RestRoute[],
  dependencies: RestDependencies,
): void {
  const viewers = new WeakMap<FastifyRequest, Viewer>();
  for (const group of groupByUrl(routes)) {
    app.route({
      method: group.method,
      bodyLimit: group.bodyLimit,
      url: group.url,
      // Before the body: nobody without a key makes us read one.
      onRequest: async (request, reply) => {
        const viewer = await dependencies.authenticate(request.headers);
        const refused = await dependencies.admission.admit(viewer, request, reply);
        if (refused !== null) return sendProblem(reply, toProblem(refused));
        if (viewer === null) return sendProblem(reply, ANONYMOUS);
        viewers.set(request, viewer);
        return undefined;
      },
      handler: (request, reply) => {
        const route = group.routes.find(({ path }) => endOf(request).endsWith(behindRest(path)));
        if (route === undefined) return reply.callNotFound();
        return answer(route, dependencies, viewers.get(request) as Viewer, request, reply);
      },
    });
  }
}

type Group = Pick<RestRoute, 'method' | 'bodyLimit'> & { url: string; routes: RestRoute[] };

/** The server's wildcard takes all of the rest, so routes that differ behind it share one; the longer ends come first. */
function groupByUrl(routes: readonly RestRoute[]): Group[] {
  const groups = new Map<string, Group>();
  for (const route of routes.toSorted((a, b) => behindRest(b.path).length - behindRest(a.path).length)) {
    const { method, bodyLimit } = route;
    const url = route.path.replace(/\{\w+\.\.\.\}.*$/, '*').replace(/\{(\w+)\}/g, ':$1');
    const group = groups.get(`${method} ${url}`);
    if (group === undefined) groups.set(`${method} ${url}`, { method, bodyLimit, url, routes: [route] });
    else group.routes.push(route);
  }
  return [...groups.values()];
}

/** `/publish` of `/api/v1/templates/{code...}/publish`. */
const behindRest = (path: string): string => /\{\w+\.\.\.\}(.*)$/.exec(path)?.[1] ?? '';

/** What the server's wildcard took; empty for a route without one. */
const endOf = ({ params }: FastifyRequest): string =>
  ((params as Record<string, string>)['*'] ?? '').replace(/\/$/, '');

const ANONYMOUS = {
  code: 'UNAUTHENTICATED',
  detail: 'send a valid key: "authorization: Bearer <key>" or "x-api-key: <key>"',
};

async function answer(
  route: RestRoute,
  { execute }: RestDependencies,
  viewer: Viewer,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  const read = readRequest(route, request, viewer);
  if ('faults' in read) return sendProblem(reply, { code: 'BAD_USER_INPUT', detail: read.detail, faults: read.faults });

  const operation = typeof route.operation === 'string' ? route.operation : route.operation.choose(read.request);
  const variables = route.toVariables(read.request);
  if (isRefusal(variables)) return sendProblem(reply, toProblem(variables));

  const { data, errors } =
    variables === null ? NOTHING : await execute(operation, variables, toRequestContext(request, viewer));
  const [error] = errors;
  if (error !== undefined) return sendProblem(reply, toProblem({ message: error.message, ...error.extensions }));

  const answered = route.toAnswer(data as never, read.request);
  if (isRefusal(answered)) return sendProblem(reply, toProblem(answered));
  return send(answered, route, request, reply);
}

/** What is read has an ETag, and is not sent again to whoever has it. */
function send(
  { status, body, location, next }: RestAnswer,
  route: RestRoute,
  request: FastifyRequest,
  reply: FastifyReply,
) {
  if (location !== undefined) void reply.header('location', location);
  if (next != null) void reply.header('link', `<${linkTo(next, request.url)}>; rel="next"`);
  if (body === undefined) return reply.code(status).send();
  const text = JSON.stringify(toSnakeKeys(body));
  if (route.method === 'GET') {
    const etag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 27)}"`;
    void reply.header('etag', etag).header('cache-control', 'private, no-cache');
    if (isKnown(etag, request.headers['if-none-match'])) return reply.code(304).send();
  }
  return reply.code(status).type('application/json; charset=utf-8').send(text);
}

/** The same list, behind a cursor. */
function linkTo(next: string, url: string): string {
  const [path = '', query] = url.split('?');
  const parameters = new URLSearchParams(query);
  parameters.set('after', next);
  return `${path}?${parameters.toString()}`;
}

/** RFC 9110, 13.1.2: compared weakly. */
const isKnown = (etag: string, header: string | undefined): boolean =>
  header?.trim() === '*' || (header?.split(',') ?? []).some((known) => known.trim().replace(/^W\//, '') === etag);

/** The answer to no operation. */
const NOTHING = { data: {}, errors: [] };

type Read = { request: RestRequest } | { detail: string; faults: Fault[] };

function readRequest(route: RestRoute, request: FastifyRequest, { scopes }: Viewer): Read {
  const rest = /\{(\w+)\.\.\.\}/.exec(route.path)?.[1];
  const { '*': wildcard, ...params } = request.params as Record<string, string>;
  if (rest !== undefined && wildcard !== undefined)
    params[rest] = endOf(request).slice(0, -behindRest(route.path).length || undefined);

  const faults: Fault[] = [];
  let body: unknown;
  if (route.body !== undefined) {
    const given: unknown = request.body === undefined ? {} : request.body;
    if (typeof given !== 'object' || given === null) return { detail: 'the body must be a JSON object', faults: [] };
    const tooDeep = refuseTooDeep(given);
    if (tooDeep !== null) return { detail: tooDeep.message, faults: tooDeep.faults };
    const schema = route.many && Array.isArray(given) ? toManySchema(route.body, route.many) : route.body;
    const parsed = schema.safeParse(given);
    if (parsed.success) body = toCamelKeys(parsed.data);
    else faults.push(...toFaults(parsed.error, given));
  }
  let query: unknown = request.query;
  if (route.query !== undefined) {
    const parsed = route.query.safeParse(query);
    if (parsed.success) query = parsed.data;
    else faults.push(...toFaults(parsed.error, request.query));
  }
  if (faults.length > 0) return { detail: faults.map((fault) => fault.message).join('; '), faults };
  return {
    request: {
      params,
      query: query as Record<string, string>,
      headers: request.headers,
      scopes,
      body: body as never,
    },
  };
}

function toManySchema(body: z.ZodType, { max, alone: isAlone }: NonNullable<RestRoute['many']>): z.ZodType {
  const message = `must have 1 to ${max} items`;
  return z
    .array(isAlone ? alone(body) : body)
    .min(1, message)
    .max(max, message);
}

/** A refusal, or the same as a GraphQL error's message and extensions. */
function toProblem(refusal: {
  message: string;
  code?: string;
  faults?: Fault[];
  errors?: Fault[];
  retryAfterSeconds?: number;
}) {
  const faults = (refusal.faults ?? refusal.errors ?? []).map((fault) => {
    const field = toSnakePath(fault.field);
    return { ...fault, field, message: fault.message.replaceAll(fault.field, field) };
  });
  const detail = faults.length > 0 ? faults.map((fault) => fault.message).join('; ') : refusal.message;
  return { code: refusal.code ?? 'INTERNAL', detail, faults, retryAfterSeconds: refusal.retryAfterSeconds };
}
