import type { z } from 'zod';
import type { Refusal, RefusalCode } from '../refusal.ts';

/**
 * One REST path: a GraphQL operation, and how request and answer map onto it. The operation holds the rules; a route only
 * translates. A table of these is all there is to a REST adapter, and to its OpenAPI document.
 */
export type RestRoute = {
  /** The operation's name in OpenAPI, for example sendNotifications. */
  id: string;
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /**
   * As the specification spells it: `/api/v1/users/{user_id}`; `{code...}` takes the rest of the path, slashes included, up to what the
   * route has behind it: `/api/v1/templates/{code...}/publish`.
   */
  path: string;
  /** One line. */
  summary: string;
  /** What the summary leaves out. */
  description?: string;
  /** The text of the GraphQL operation, or how the request chooses one of several. */
  operation: string | { of: readonly string[]; choose(request: RestRequest): string };
  /** The shape of the JSON body, in snake_case; unknown fields are refused by name. No body at all counts as `{}`. */
  body?: z.ZodType;
  /** An array of bodies is taken too. `alone`: a faulty one fails alone. */
  many?: { max: number; alone: boolean };
  /** The most bytes of a body, where the server's own limit does not fit. */
  bodyLimit?: number;
  query?: z.ZodObject;
  /** Headers that mean something to this route, lower-case, and what. */
  headers?: Record<string, string>;
  /** A body that is taken, and a query. */
  example?: { body?: unknown; query?: Record<string, string> };
  /** What it answers with, by status; null: no body. */
  answers: Record<number, { description: string; schema: z.ZodType | null }>;
  /** What it refuses with beyond what every route may: authentication, rights, rates, bad input, a service that is away. */
  problems?: readonly RefusalCode[];
  /**
   * The operation's variables. `body` has passed `route.body`, its keys in camelCase. Null: there is nothing to ask, and `toAnswer`
   * answers from the request alone.
   */
  toVariables(request: RestRequest): Record<string, unknown> | Refusal | null;
  /** Keys of the answer's body are turned into snake_case. */
  toAnswer(data: never, request: RestRequest): RestAnswer | Refusal;
};

export type RestAnswer = {
  status: number;
  body: unknown;
  /** The path of what was made. */
  location?: string;
  /** The cursor of the next page, told in a Link header too; null on the last. */
  next?: string | null;
};

export type RestRequest = {
  params: Record<string, string>;
  query: Record<string, string>;
  headers: Record<string, string | string[] | undefined>;
  /** What the credential may, so that a field it may not read is not asked for. */
  scopes: readonly string[];
  /** The parsed body, keys in camelCase; `never` so that each route names the type it knows. */
  body: never;
};

/** Keeps the type of each route's answer while the table stays one list. */
export const route = <Data, Body = undefined>(
  definition: Omit<RestRoute, 'toVariables' | 'toAnswer'> & {
    toVariables(request: Omit<RestRequest, 'body'> & { body: Body }): Record<string, unknown> | Refusal | null;
    toAnswer(data: Data, request: Omit<RestRequest, 'body'> & { body: Body }): RestAnswer | Refusal;
  },
): RestRoute => definition;

/** Every document that a route may run. */
export const operationsOf = ({ operation }: RestRoute): readonly string[] =>
  typeof operation === 'string' ? [operation] : operation.of;
