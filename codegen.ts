import { composeServices } from '@apollo/composition';
import type { CodegenConfig } from '@graphql-codegen/cli';
import { type DocumentNode, getOperationAST, parse, printSchema, Source } from 'graphql';
import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';

type Outputs = CodegenConfig['generates'];

const subgraphs = ['user', 'template', 'notification'].filter((name) => existsSync(schemaOf(name)));

const audited = {
  AuditTrail: '../../../platform/audit.ts#AuditReference',
  AuditEntry: '../../../platform/audit.ts#AuditRow',
};

/** Parent types of resolvers, where they differ from the schema's: `{ notification: { Notification: '../store.ts#NotificationRow' } }`. */
const mappers: Record<string, Record<string, string>> = {
  user: {
    User: '../store.ts#UserRow',
    PushToken: '../store.ts#PushTokenRow',
    ApiKey: '../api-key-store.ts#ApiKeyRow',
    Credential: '../api-key-store.ts#CredentialRow',
    ...audited,
  },
  template: {
    Template: '../store.ts#TemplateRow',
    TemplateVersion: '../store.ts#VersionRow',
    TemplatePublication: '../store.ts#PublicationRow',
    TemplateContent: '../../rendering/render-message.ts#TemplateContent as ContentParts',
    EmailContent: '../../rendering/render-message.ts#EmailParts',
    PushContent: '../../rendering/render-message.ts#PushParts',
    DeclaredVariable: '../../rendering/declared-variables.ts#DeclaredVariable as Declared',
    TemplatePreview: '../preview-template.ts#Preview',
    ...audited,
  },
  notification: {
    Notification: '../store.ts#NotificationRow',
    TimelineEntry: '../store.ts#TimelineRow',
    DeliveryAttempt: '../store.ts#AttemptRow',
    Suppression: '../store.ts#SuppressionRow',
    ...audited,
    Provider: '../store.ts#ProviderRow',
    User: '../notification-list.ts#UserReference',
    Template: '../notification-list.ts#TemplateReference',
    SendExplanation: '../explain-send.ts#Explanation',
    NotificationStatusEvent: 'StatusEventInput',
    RawStatusEvent: '../../../contracts/events.ts#StatusEvent',
    SendRefusal: '../../../platform/refusal.ts#Refusal',
    NotificationStatsBucket: '../find-stats.ts#StatsRow',
  },
};

/** TypeScript must read these files as they stand: Node strips types, it doesn't compile. */
const erasable = { useTypeImports: true, enumsAsTypes: true, strictScalars: true };

/** What resolvers take and return. A scalar missing here fails the run. */
const resolverScalars = {
  DateTime: { input: 'Date', output: 'Date | string' },
  JSON: 'unknown',
  JSONObject: 'Record<string, unknown>',
  FeedNumber: 'number',
  _Any: 'unknown',
  _FieldSet: 'string',
};

/** What callers send and get: everything has been through JSON. */
const wireScalars = { ID: 'string', DateTime: 'string', JSON: 'unknown', JSONObject: 'Record<string, unknown>' };

const apiSchema = composeApiSchema();

const generates: Outputs = {};
for (const name of subgraphs) {
  Object.assign(generates, resolverTypes(name));
}
Object.assign(generates, operations('client/operations/*.graphql', 'client/generated/operations.ts', apiSchema));
Object.assign(generates, operations('rest/operations.graphql', 'rest/generated/operations.ts', apiSchema));

export default {
  generates,
  importExtension: '.ts',
  emitLegacyCommonJSImports: false,
  hooks: { afterAllFileWrite: writeTrustedDocuments },
} satisfies CodegenConfig;

/** The client's documents by their SHA-256, in the form of Apollo's manifests: what TRUSTED_DOCUMENTS_PATH takes. Their text is what the client sends. */
async function writeTrustedDocuments(): Promise<void> {
  const operations: Record<string, unknown> = await import('./client/generated/operations.ts');
  const manifest = {
    format: 'apollo-persisted-query-manifest',
    version: 1,
    operations: Object.entries(operations).flatMap(([name, document]) => {
      if (!name.endsWith('Document')) return [];
      const body = String(document);
      const id = createHash('sha256').update(body).digest('hex');
      const type = getOperationAST(parse(body))?.operation;
      return [{ id, name: name.replace(/Document$/, ''), type, body }];
    }),
  };
  writeFileSync('client/generated/trusted-documents.json', `${JSON.stringify(manifest, null, 2)}\n`);
}

function resolverTypes(name: string): Outputs {
  return {
    [`subgraphs/${name}/generated/graphql.ts`]: {
      schema: schemaOf(name),
      plugins: ['typescript', 'typescript-resolvers'],
      config: {
        ...erasable,
        federation: true,
        contextType: '../../serve.ts#SubgraphContext',
        mappers: mappers[name] ?? {},
        scalars: resolverScalars,
        // A field of Query, Mutation or Subscription without a resolver is a type error.
        avoidOptionals: { query: true, mutation: true, subscription: true },
      },
    },
  };
}

/** Typed documents for the operations of one pattern; nothing when there are none, or no schema yet. */
function operations(pattern: string, output: string, schema: string | undefined): Outputs {
  if (globSync(pattern).length === 0 || schema === undefined) return {};
  return {
    [output]: {
      schema,
      documents: pattern,
      plugins: ['typescript-operations', 'typed-document-node'],
      config: { ...erasable, documentMode: 'string', scalars: wireScalars },
    },
  };
}

/** The schema that clients see, composed from the subgraphs as they are now (not from the committed supergraph, which may be stale). */
function composeApiSchema(): string | undefined {
  if (subgraphs.length < 3) return undefined;
  const services = subgraphs.map((name) => ({
    name,
    url: `http://${name}`,
    typeDefs: parseSchema(schemaOf(name)),
  }));
  const { schema, errors } = composeServices(services);
  if (!schema) throw new Error(`The subgraphs don't compose:\n${errors?.map((error) => error.message).join('\n')}`);
  return printSchema(schema.toAPISchema().toGraphQLJSSchema());
}

function parseSchema(file: string): DocumentNode {
  try {
    return parse(new Source(readFileSync(file, 'utf8'), file));
  } catch (error) {
    throw new Error(String(error), { cause: error }); // As a string, a GraphQL error shows its file and line.
  }
}

function schemaOf(name: string): string {
  return `subgraphs/${name}/schema.graphql`;
}
