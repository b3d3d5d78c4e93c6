import { z } from 'zod';
import { refuse } from '../../platform/refusal.ts';
import { route, type RestRoute } from '../../platform/rest/route.ts';
import {
  CreateTemplateDocument,
  TemplateDocument,
  TemplateVersionDocument,
  type CreateTemplateMutation,
  type RestContentFragment,
  type TemplateQuery,
  type TemplateVersionQuery,
} from './generated/rest.ts';

/** A text may have 256 KiB, and a template has several. */
const MAX_TEMPLATE_BYTES = 1024 * 1024;

const channelSchemas = {
  email: z.strictObject({ subject: z.string(), html: z.string(), text: z.string().nullish() }).nullish(),
  push: z
    .strictObject({
      title: z.string(),
      body: z.string(),
      image: z.string().nullish(),
      link: z.string().nullish(),
      data: z.record(z.string(), z.unknown()).nullish(),
      ttl_seconds: z.int().nullish(),
      collapse_key: z.string().nullish(),
    })
    .nullish(),
};

const contentSchema = z.strictObject({ locale: z.string(), ...channelSchemas });

const declaredVariableSchema = z.strictObject({
  name: z.string(),
  type: z.enum(['string', 'number', 'boolean', 'object', 'list']).transform((type) => type.toUpperCase()),
  required: z.boolean().optional(),
  description: z.string().nullish(),
});

const createTemplateSchema = z.strictObject({
  code: z.string(),
  locale: z.string().optional(),
  ...channelSchemas,
  contents: z.array(contentSchema).optional(),
  variables: z.array(declaredVariableSchema).optional(),
  sensitive: z.boolean().optional(),
  unsubscribable: z.boolean().optional(),
  reason: z.string().optional(),
});

const readQuerySchema = z.strictObject({
  version: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, 'must be a version number such as 3')
    .optional(),
  locale: z.string().optional(),
});

/** The template service's REST paths. Codes hold slashes, raw or as %2F. */
export const createRoutes = (): RestRoute[] => [
  route<CreateTemplateMutation, object>({
    method: 'POST',
    path: '/api/v1/templates/',
    summary: 'Create a template and publish its version 1',
    bodyLimit: MAX_TEMPLATE_BYTES,
    operation: CreateTemplateDocument.toString(),
    body: createTemplateSchema,
    toVariables: ({ body }) => ({ input: body }),
    toAnswer: ({ createTemplate: { code, currentVersion } }) => ({
      status: 201,
      body: toTemplateBody(code, currentVersion?.content),
    }),
  }),
  route<TemplateQuery & TemplateVersionQuery>({
    method: 'GET',
    path: '/api/v1/templates/{code...}',
    summary: 'Read the published content of a template, or that of one version',
    operation: ({ query }) => (query['version'] === undefined ? TemplateDocument : TemplateVersionDocument).toString(),
    query: readQuerySchema,
    toVariables: ({ params, query }) => ({
      code: params['code'],
      locale: query['locale'],
      ...(query['version'] !== undefined && { number: Number(query['version']) }),
    }),
    toAnswer: ({ template }) => {
      const content = (template?.currentVersion ?? template?.version)?.content;
      if (!template || !content) return refuse('NOT_FOUND', 'there is no such template, version or language');
      return { status: 200, body: toTemplateBody(template.code, content) };
    },
  }),
];

const toTemplateBody = (code: string, content: RestContentFragment | null | undefined) => ({ code, ...content });
