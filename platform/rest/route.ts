import type { z } from 'zod';
import type { Refusal } from '../refusal.ts';

/**
 * One REST path: a GraphQL operation, and how request and answer map onto it. The operation holds the rules; a route only
 * translates. A table of these is all there is to a REST adapter.
 */
export type RestRoute = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /**
   * As the specification spells it: `/api/v1/users/{user_id}`; `{code...}` takes the rest of the path, slashes included, up to what the
   * route has behind it: `/api/v1/templates/{code...}/publish`.
   */
  path: string;
  summary: string;
  /** The text of the GraphQL operation, or how the request chooses one. */
  operation: string | ((request: RestRequest) => string);
  /** The shape of the JSON body, in snake_case; unknown fields are refused by name. A function chooses by the body's own kind. */
  body?: z.ZodType | ((body: unknown) => z.ZodType);
  /** The most bytes of a body, where the server's own limit does not fit. */
  bodyLimit?: number;
  query?: z.ZodType;
  /**
   * The operation's variables. `body` has passed `route.body`, its keys in camelCase. Null: there is nothing to ask, and `toAnswer`
   * answers from the request alone.
   */
  toVariables(request: RestRequest): Record<string, unknown> | Refusal | null;
  /** Keys of the answer's body are turned into snake_case. */
  toAnswer(data: never, request: RestRequest): RestAnswer | Refusal;
};

export type RestAnswer = { status: number; body: unknown };

export type RestRequest = {
  params: Record<string, string>;
  query: Record<string, string>;
  headers: Record<string, string | string[] | undefined>;
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
