import { z } from 'zod';
import { NOTIFICATION_TYPES } from '../contracts/jobs.ts';
import { refuse } from '../platform/refusal.ts';
import { route, type RestRoute } from '../platform/rest/route.ts';
import * as fields from './fields.ts';
import * as operations from './generated/operations.ts';

/** A text may have 256 KiB, and a template has several. */
const MAX_TEMPLATE_BYTES = 1024 * 1024;

const VARIABLE_TYPES = ['string', 'number', 'boolean', 'object', 'list'] as const;
const LOCALE_SOURCES = ['asked', 'asked_language', 'user', 'user_language', 'template_default'] as const;

const upper = (text: string) => text.toUpperCase();

const emailSchema = z
  .strictObject({
    subject: fields.text('Liquid; a line break becomes a blank.', { minLength: 1 }),
    html: fields.text('Liquid; what variables hold is escaped.', { minLength: 1 }),
    text: fields.text('Liquid; made from the HTML when there is none.').nullish(),
  })
  .meta({ id: 'EmailContent', description: 'What a mail says.' });

const pushSchema = z
  .strictObject({
    title: fields.text('Liquid; a line break becomes a blank.', { minLength: 1 }),
    body: fields.text('Liquid; the message.', { minLength: 1 }),
    image: fields.text('The URL of a picture; Liquid.').nullish(),
    link: fields.text('The URL that a tap opens; Liquid.').nullish(),
    data: fields.json('For the app that receives it.').nullish(),
    ttl_seconds: z.int32().nullish().meta({
      description: 'How long a push service may keep it; at most four weeks.',
      minimum: 0,
      maximum: 2_419_200,
    }),
    collapse_key: fields.text("On a device, a newer message of the same key takes this one's place.").nullish(),
  })
  .meta({ id: 'PushContent', description: 'What a push message says.' });

const channels = { email: emailSchema.nullish(), push: pushSchema.nullish() };

const contentSchema = z
  .strictObject({ locale: fields.locale, ...channels })
  .meta({ id: 'Content', description: 'One language. At least one of email and push is needed.' });

const declaredVariableSchema = z
  .strictObject({
    name: fields.text('As texts use it.', { pattern: '^[A-Za-z_][A-Za-z0-9_-]{0,99}$' }),
    type: z.enum(VARIABLE_TYPES).meta({ description: 'What it must be.' }).transform(upper),
    required: z.boolean().meta({ description: 'Whether a send must have it; true when left out.' }).optional(),
    description: fields.text('For people.').nullish(),
  })
  .meta({ id: 'DeclaredVariable', description: 'What is known of a variable.' });

const createTemplateSchema = z
  .strictObject({
    code: fields.templateCode,
    locale: fields.locale.optional().meta({ description: 'The language of email and push; en when left out.' }),
    ...channels,
    contents: z.array(contentSchema).optional().meta({ description: 'Further languages.' }),
    variables: z.array(declaredVariableSchema).optional(),
    sensitive: z
      .boolean()
      .optional()
      .meta({ description: 'True for secrets such as codes: the message is erased as soon as the notification ends.' }),
    unsubscribable: z.boolean().optional().meta({ description: 'Its mails have the variable unsubscribe_url.' }),
    reason: fields.reason.optional(),
  })
  .meta({ id: 'NewTemplate', description: 'A template to be. At least one of email and push is needed.' });

const draftSchema = z
  .strictObject({
    based_on: z.int32().nullish().meta({ description: 'The version whose languages are taken over.', minimum: 1 }),
    contents: z.array(contentSchema).optional().meta({ description: 'Languages.' }),
    variables: z.array(declaredVariableSchema).nullish(),
    reason: fields.reason.nullish(),
  })
  .meta({ id: 'NewVersion', description: 'A version to be.' });

const number = z.int32().meta({ description: "A version's number.", minimum: 1 });

const publishSchema = z
  .strictObject({ number, reason: fields.reason.nullish() })
  .meta({ id: 'Publish', description: 'Which version.' });

const rollBackSchema = z
  .strictObject({
    number: number.nullish().meta({ description: 'The one that was published before, when left out.' }),
    reason: fields.reason.nullish(),
  })
  .meta({ id: 'RollBack', description: 'To which version.' });

const previewSchema = z
  .strictObject({
    number: number.nullish().meta({ description: 'The published one when left out.' }),
    notification_type: z
      .enum(NOTIFICATION_TYPES, 'must be email or push')
      .transform(upper)
      .nullish()
      .meta({ description: 'Both when left out.' }),
    locale: fields.locale.nullish().meta({ description: 'What a send would ask for.' }),
    user_locale: fields.locale.nullish().meta({ description: "The user's language." }),
    variables: fields.json('The values to render with.').optional(),
  })
  .meta({ id: 'Preview', description: 'What to render.' });

const readQuerySchema = z.strictObject({
  version: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, 'must be a version number such as 3')
    .meta({ description: 'A version; the published one when left out.', pattern: '^[1-9][0-9]{0,8}$' })
    .optional(),
  locale: fields.locale
    .optional()
    .meta({ description: "A language; the template's default when left out, or when there is no such language." }),
});

const templateSchema = z
  .strictObject({
    code: fields.templateCode,
    locale: fields.text('The language of this.').optional(),
    email: emailSchema.nullish(),
    push: pushSchema.nullish(),
  })
  .meta({ id: 'Template', description: 'One language of one version.' });

const versionFields = {
  number: z.int().meta({ description: 'From 1.' }),
  is_published: z.boolean().meta({ description: 'Whether sends use it.' }),
  based_on: z.int().nullable().meta({ description: 'The version it was made from.' }),
  reason: fields.text('Why it was made.').nullable(),
  created_at: fields.instant('When it was made.'),
  created_by: fields.text('By whom.'),
  published_at: fields.instant('When it was last published.').nullable(),
  published_by: fields.text('By whom.').nullable(),
  missing_locales: z.array(z.string()).meta({ description: 'Languages that an earlier version had.' }),
};

const versionSchema = z.strictObject(versionFields).meta({ id: 'Version', description: 'One version of a template.' });

const faultSchema = z
  .strictObject({
    severity: z.enum(['error', 'warning']).meta({ description: 'An error keeps it from being published.' }),
    field: fields.text('Where.'),
    code: fields.text('For programs.'),
    message: fields.text('For people.'),
    line: z.int().nullable().meta({ description: 'From 1.' }),
    column: z.int().nullable().meta({ description: 'From 1.' }),
  })
  .meta({ id: 'TemplateFault', description: 'What is wrong with a text.' });

const publishedSchema = z
  .strictObject({ code: fields.templateCode, ...versionFields })
  .meta({ id: 'Published', description: 'A template and the version that sends use now.' });

const renderedSchema = z
  .strictObject({
    number: z.int().meta({ description: 'Of which version.' }),
    locale: fields.text('In which language.'),
    locale_source: z.enum(LOCALE_SOURCES).meta({ description: 'Why in that language.' }),
    email: z
      .strictObject({ subject: z.string(), html: z.string(), text: z.string().nullable() })
      .nullable()
      .meta({ description: 'The mail.' }),
    push: pushSchema.nullable(),
  })
  .meta({ id: 'Rendered', description: 'What would be sent.' });

const email = {
  subject: 'Your receipt, {{ name }}',
  html: '<p>Thank you, {{ name }}: <a href="{{ link }}">your order</a>.</p>',
};

/** The templates' paths, which the template service and the gateway serve. Codes hold slashes, raw or as %2F. */
export const templateRoutes: RestRoute[] = [
  route<operations.CreateTemplateMutation, { code: string }>({
    id: 'createTemplate',
    method: 'POST',
    path: '/api/v1/templates/',
    summary: 'Create a template and publish its version 1',
    bodyLimit: MAX_TEMPLATE_BYTES,
    operation: operations.CreateTemplateDocument.toString(),
    body: createTemplateSchema,
    example: { body: { code: 'billing/invoice', locale: 'en', email } },
    answers: { 201: { description: 'Version 1 is published.', schema: templateSchema } },
    problems: ['CONFLICT', 'UNPROCESSABLE'],
    toVariables: ({ body }) => ({ input: body }),
    toAnswer: ({ createTemplate: { code, currentVersion } }) => ({
      status: 201,
      body: toTemplateBody(code, currentVersion?.content),
      location: `/api/v1/templates/${code}`,
    }),
  }),
  route<operations.TemplatesQuery>({
    id: 'listTemplates',
    method: 'GET',
    path: '/api/v1/templates/',
    summary: 'List templates in the order of their codes',
    operation: operations.TemplatesDocument.toString(),
    query: z.strictObject({ search: fields.search, ...fields.pageQuery }),
    example: { query: { search: 'billing', first: '20' } },
    answers: {
      200: {
        description: 'A page.',
        schema: z
          .strictObject({
            templates: z.array(
              z.strictObject({
                code: fields.templateCode,
                default_locale: fields.text('The language used when none of the asked ones exists.'),
                version: z.int().nullable().meta({ description: 'The published one; null while there is none.' }),
                published_at: fields.instant('When that was published.').nullable(),
              }),
            ),
            next: fields.next,
          })
          .meta({ id: 'TemplatePage', description: 'A page of templates.' }),
      },
    },
    toVariables: ({ query }) => ({ search: query['search'], ...fields.toPage(query) }),
    toAnswer: ({ templates: { edges, pageInfo } }) => {
      const next = pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null;
      const templates = edges.map(({ node: { code, defaultLocale, currentVersion } }) => ({
        code,
        defaultLocale,
        version: currentVersion?.number ?? null,
        publishedAt: currentVersion?.publishedAt ?? null,
      }));
      return { status: 200, body: { templates, next }, next };
    },
  }),
  route<operations.TemplateQuery & operations.TemplateVersionQuery>({
    id: 'readTemplate',
    method: 'GET',
    path: '/api/v1/templates/{code...}',
    summary: 'Read the published content of a template, or that of one version',
    operation: {
      of: [operations.TemplateDocument.toString(), operations.TemplateVersionDocument.toString()],
      choose: ({ query }) =>
        (query['version'] === undefined ? operations.TemplateDocument : operations.TemplateVersionDocument).toString(),
    },
    query: readQuerySchema,
    example: { query: { version: '1', locale: 'en' } },
    answers: { 200: { description: 'One language of it.', schema: templateSchema } },
    problems: ['NOT_FOUND'],
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
  route<operations.TemplateVersionsQuery>({
    id: 'listTemplateVersions',
    method: 'GET',
    path: '/api/v1/templates/{code...}/versions',
    summary: 'List the versions of a template, newest first',
    operation: operations.TemplateVersionsDocument.toString(),
    query: z.strictObject(fields.pageQuery),
    example: { query: { first: '20' } },
    answers: {
      200: {
        description: 'A page.',
        schema: z
          .strictObject({ versions: z.array(versionSchema), next: fields.next })
          .meta({ id: 'VersionPage', description: "A page of a template's versions." }),
      },
    },
    problems: ['NOT_FOUND'],
    toVariables: ({ params, query }) => ({ code: params['code'], ...fields.toPage(query) }),
    toAnswer: ({ template }) => {
      if (!template) return refuse('NOT_FOUND', 'there is no such template');
      const { edges, pageInfo } = template.versions;
      const next = pageInfo.hasNextPage ? (pageInfo.endCursor ?? null) : null;
      return { status: 200, body: { versions: edges.map(({ node }) => node), next }, next };
    },
  }),
  route<operations.DraftTemplateVersionMutation, object>({
    id: 'draftTemplateVersion',
    method: 'POST',
    path: '/api/v1/templates/{code...}/versions',
    summary: 'Store a new version, not published yet',
    bodyLimit: MAX_TEMPLATE_BYTES,
    operation: operations.DraftTemplateVersionDocument.toString(),
    body: draftSchema,
    example: { body: { based_on: 1, contents: [{ locale: 'en', email }], reason: 'a friendlier subject' } },
    answers: {
      201: {
        description: 'The version, and what is wrong with its texts.',
        schema: z
          .strictObject({ ...versionFields, faults: z.array(faultSchema) })
          .meta({ id: 'Draft', description: 'A new version, and what is wrong with its texts.' }),
      },
    },
    problems: ['NOT_FOUND', 'UNPROCESSABLE'],
    toVariables: ({ params, body }) => ({ input: { code: params['code'], ...body } }),
    toAnswer: ({ draftTemplateVersion: { faults, ...version } }, { params }) => ({
      status: 201,
      location: `/api/v1/templates/${params['code']}?version=${version.number}`,
      body: { ...version, faults: faults.map((fault) => ({ ...fault, severity: fault.severity.toLowerCase() })) },
    }),
  }),
  route<operations.PublishTemplateMutation, object>({
    id: 'publishTemplate',
    method: 'POST',
    path: '/api/v1/templates/{code...}/publish',
    summary: 'Make a version the one that sends use',
    operation: operations.PublishTemplateDocument.toString(),
    body: publishSchema,
    example: { body: { number: 1, reason: 'approved' } },
    answers: { 200: { description: 'Sends use it from now on.', schema: publishedSchema } },
    problems: ['NOT_FOUND', 'CONFLICT', 'UNPROCESSABLE'],
    toVariables: ({ params, body }) => ({ code: params['code'], ...body }),
    toAnswer: ({ publishTemplate }) => ({ status: 200, body: toPublishedBody(publishTemplate) }),
  }),
  route<operations.RollBackTemplateMutation, object>({
    id: 'rollBackTemplate',
    method: 'POST',
    path: '/api/v1/templates/{code...}/rollback',
    summary: 'Make a version that was published before the one that sends use again',
    operation: operations.RollBackTemplateDocument.toString(),
    body: rollBackSchema,
    example: { body: { number: 1, reason: 'the new one broke a link' } },
    answers: { 200: { description: 'Sends use it from now on.', schema: publishedSchema } },
    problems: ['NOT_FOUND', 'CONFLICT', 'UNPROCESSABLE'],
    toVariables: ({ params, body }) => ({ code: params['code'], ...body }),
    toAnswer: ({ rollBackTemplate }) => ({ status: 200, body: toPublishedBody(rollBackTemplate) }),
  }),
  route<operations.PreviewTemplateQuery, object>({
    id: 'previewTemplate',
    method: 'POST',
    path: '/api/v1/templates/{code...}/preview',
    summary: 'Render a version without sending it',
    operation: operations.PreviewTemplateDocument.toString(),
    body: previewSchema,
    example: {
      body: {
        notification_type: 'email',
        locale: 'en',
        variables: { name: 'Ada', link: 'https://example.com/orders/7' },
      },
    },
    answers: { 200: { description: 'As a send would be rendered.', schema: renderedSchema } },
    problems: ['NOT_FOUND', 'UNPROCESSABLE'],
    toVariables: ({ params, body }) => ({ input: { code: params['code'], ...body } }),
    toAnswer: ({ previewTemplate: { version, localeSource, ...rendered } }) => ({
      status: 200,
      body: { number: version.number, localeSource: localeSource.toLowerCase(), ...rendered },
    }),
  }),
];

const toPublishedBody = ({ code, currentVersion }: operations.RestPublishedFragment) => ({ code, ...currentVersion });

const toTemplateBody = (code: string, content: operations.RestContentFragment | null | undefined) => ({
  code,
  ...content,
});
