import { z } from 'zod';
import { refuse } from '../../platform/refusal.ts';
import { route, type RestRoute } from '../../platform/rest/route.ts';
import {
  CreateTemplateDocument,
  DraftTemplateVersionDocument,
  PreviewTemplateDocument,
  PublishTemplateDocument,
  RollBackTemplateDocument,
  TemplateDocument,
  TemplateVersionDocument,
  TemplateVersionsDocument,
  type CreateTemplateMutation,
  type DraftTemplateVersionMutation,
  type PreviewTemplateQuery,
  type PublishTemplateMutation,
  type RestContentFragment,
  type RestPublishedFragment,
  type RollBackTemplateMutation,
  type TemplateQuery,
  type TemplateVersionQuery,
  type TemplateVersionsQuery,
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

const draftSchema = z.strictObject({
  based_on: z.int().nullish(),
  contents: z.array(contentSchema).optional(),
  variables: z.array(declaredVariableSchema).nullish(),
  reason: z.string().nullish(),
});

const publishSchema = z.strictObject({ number: z.int(), reason: z.string().nullish() });

const rollBackSchema = z.strictObject({ number: z.int().nullish(), reason: z.string().nullish() });

const previewSchema = z.strictObject({
  number: z.int().nullish(),
  notification_type: z
    .enum(['email', 'push'])
    .transform((type) => type.toUpperCase())
    .nullish(),
  locale: z.string().nullish(),
  user_locale: z.string().nullish(),
  variables: z.record(z.string(), z.unknown()).optional(),
});

const pageSchema = z.strictObject({
  first: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a number from 1 to 200')
    .optional(),
  after: z.string().optional(),
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
  route<TemplateVersionsQuery>({
    method: 'GET',
    path: '/api/v1/templates/{code...}/versions',
    summary: 'List the versions of a template, newest first',
    operation: TemplateVersionsDocument.toString(),
    query: pageSchema,
    toVariables: ({ params, query: { first, after } }) => ({ code: params['code'], first: Number(first ?? 50), after }),
    toAnswer: ({ template }) => {
      if (!template) return refuse('NOT_FOUND', 'there is no such template');
      const { edges, pageInfo } = template.versions;
      const next = pageInfo.hasNextPage ? pageInfo.endCursor : null;
      return { status: 200, body: { versions: edges.map(({ node }) => node), next } };
    },
  }),
  route<DraftTemplateVersionMutation, object>({
    method: 'POST',
    path: '/api/v1/templates/{code...}/versions',
    summary: 'Store a new version, not published yet',
    bodyLimit: MAX_TEMPLATE_BYTES,
    operation: DraftTemplateVersionDocument.toString(),
    body: draftSchema,
    toVariables: ({ params, body }) => ({ input: { code: params['code'], ...body } }),
    toAnswer: ({ draftTemplateVersion: { faults, ...version } }) => ({
      status: 201,
      body: { ...version, faults: faults.map((fault) => ({ ...fault, severity: fault.severity.toLowerCase() })) },
    }),
  }),
  route<PublishTemplateMutation, object>({
    method: 'POST',
    path: '/api/v1/templates/{code...}/publish',
    summary: 'Make a version the one that sends use',
    operation: PublishTemplateDocument.toString(),
    body: publishSchema,
    toVariables: ({ params, body }) => ({ code: params['code'], ...body }),
    toAnswer: ({ publishTemplate }) => ({ status: 200, body: toPublishedBody(publishTemplate) }),
  }),
  route<RollBackTemplateMutation, object>({
    method: 'POST',
    path: '/api/v1/templates/{code...}/rollback',
    summary: 'Make a version that was published before the one that sends use again',
    operation: RollBackTemplateDocument.toString(),
    body: rollBackSchema,
    toVariables: ({ params, body }) => ({ code: params['code'], ...body }),
    toAnswer: ({ rollBackTemplate }) => ({ status: 200, body: toPublishedBody(rollBackTemplate) }),
  }),
  route<PreviewTemplateQuery, object>({
    method: 'POST',
    path: '/api/v1/templates/{code...}/preview',
    summary: 'Render a version without sending it',
    operation: PreviewTemplateDocument.toString(),
    body: previewSchema,
    toVariables: ({ params, body }) => ({ input: { code: params['code'], ...body } }),
    toAnswer: ({ previewTemplate: { version, localeSource, ...rendered } }) => ({
      status: 200,
      body: { number: version.number, localeSource: localeSource.toLowerCase(), ...rendered },
    }),
  }),
];

const toPublishedBody = ({ code, currentVersion }: RestPublishedFragment) => ({ code, ...currentVersion });

const toTemplateBody = (code: string, content: RestContentFragment | null | undefined) => ({ code, ...content });
