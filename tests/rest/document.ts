import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { readFileSync } from 'node:fs';
import type { RestAnswer } from '../doors.ts';

type Schema = Record<string, unknown>;
type Content = Record<string, { schema: Schema; example?: unknown; 'x-event-data'?: Schema }>;
type Parameter = { name: string; in: 'path' | 'query' | 'header'; schema: Schema; example?: string };
type Response = { $ref?: string; headers?: object; content?: Content };

export type Operation = {
  operationId: string;
  tags: [string];
  description?: string;
  parameters: Parameter[];
  requestBody?: { required: boolean; content: Content };
  responses: Record<string, Response>;
};

/** The committed OpenAPI document, and what it says of an answer. */
export const document = JSON.parse(readFileSync(new URL('../../rest/openapi.json', import.meta.url), 'utf8')) as {
  paths: Record<string, Record<string, Operation>>;
  components: { headers: object; schemas: Record<string, Schema>; responses: Record<string, Response> };
};

const all = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase() as Method, operation })),
);
const isStream = ({ operation: { responses } }: (typeof all)[number]) =>
  responses[200]?.content?.['text/event-stream'] !== undefined;
export const operations = all.filter((found) => !isStream(found));
/** Those whose answer does not end. */
export const streams = all.filter(isStream);
type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default(ajv);
ajv.addSchema({ $id: 'herald', components: document.components });

const validators = new Map<string, ValidateFunction>();

/** What a schema of the document has against a value; null when nothing. */
export function faultOf(schema: Schema, value: unknown): string | null {
  const key = JSON.stringify(schema);
  const validate = validators.get(key) ?? ajv.compile(JSON.parse(key.replaceAll('"#/', '"herald#/')));
  validators.set(key, validate);
  return validate(value) ? null : ajv.errorsText(validate.errors);
}

/** The schema behind a reference. */
export const resolve = (schema: Schema): Schema =>
  typeof schema['$ref'] === 'string'
    ? (document.components.schemas[schema['$ref'].replace('#/components/schemas/', '')] as Schema)
    : schema;

/** What the document has against an answer to an operation; null when it says just that. */
export function unfitOf({ operationId, responses }: Operation, { status, headers, body }: RestAnswer): string | null {
  const told = responses[status];
  if (told === undefined) return `${operationId} answers ${status}, which the document does not know`;
  const response = told.$ref
    ? (document.components.responses[told.$ref.replace('#/components/responses/', '')] as Response)
    : told;
  if (response.content === undefined) return body === '' ? null : `${operationId} has a body with ${status}`;
  const type = String(headers['content-type']).split(';')[0] ?? '';
  const content = response.content[type];
  if (content === undefined) return `${operationId} answers ${status} as ${type}`;
  const fault = faultOf(content.schema, body);
  return fault === null ? null : `${operationId} ${status}: ${fault}: ${JSON.stringify(body).slice(0, 300)}`;
}
