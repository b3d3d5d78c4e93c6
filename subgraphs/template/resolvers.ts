import { DateTimeResolver, JSONObjectResolver } from 'graphql-scalars';
import { readAudit } from '../../platform/audit.ts';
import type { Pool } from '../../platform/postgres.ts';
import { orThrow } from '../../platform/refusal.ts';
import { createTemplate } from './create-template.ts';
import { diffVersions } from './diff-versions.ts';
import { draftVersion } from './draft-version.ts';
import { findPublications, findTemplates, findVersions } from './find-templates.ts';
import type { Resolvers } from './generated/graphql.ts';
import { previewTemplate } from './preview-template.ts';
import { publishVersion, rollBack } from './publish-version.ts';
import type { TemplateRow, TemplateStore } from './store.ts';
import { updateTemplate } from './update-template.ts';
import { variablesOfVersion } from './variables-of-version.ts';
import { faultsOfVersion } from './version-faults.ts';
import { isCode } from './version-input.ts';

/** There is one. */
const AUDIT_TRAIL = { id: 'herald' };

export const createResolvers = ({ pool, store }: { pool: Pool; store: TemplateStore }): Resolvers => {
  /** A version is read by way of its template, and templates are never removed. */
  const templateOf = async ({ code }: { code: string }): Promise<TemplateRow> => {
    const template = await store.findTemplate(code);
    if (template === null) throw new Error(`the template ${code} of a version is gone`);
    return template;
  };
  return {
    DateTime: DateTimeResolver,
    JSONObject: JSONObjectResolver,
    Query: {
      template: (_, { code }) => {
        return isCode(code) ? store.findTemplate(code) : null;
      },
      templates: async (_, asked) => {
        return orThrow(await findTemplates(store, asked));
      },
      previewTemplate: async (_, { input }) => {
        return orThrow(await previewTemplate(store, input));
      },
    },
    AuditTrail: {
      __resolveReference: () => AUDIT_TRAIL,
      templates: async (_, asked) => orThrow(await readAudit(pool, asked)),
    },
    Mutation: {
      createTemplate: async (_, { input }, { viewer }) => {
        return orThrow(await createTemplate(store, input, viewer.id));
      },
      draftTemplateVersion: async (_, { input }, { viewer }) => {
        return orThrow(await draftVersion(store, input, viewer.id));
      },
      publishTemplate: async (_, { code, number, reason }, { viewer }) => {
        return orThrow(await publishVersion(store, code, number, { by: viewer.id, reason: reason ?? null }));
      },
      rollBackTemplate: async (_, { code, number, reason }, { viewer }) => {
        return orThrow(await rollBack(store, code, number ?? null, { by: viewer.id, reason: reason ?? null }));
      },
      updateTemplate: async (_, { code, input }) => {
        return orThrow(await updateTemplate(store, code, input));
      },
    },
    Template: {
      __resolveReference: ({ code }) => {
        return isCode(code) ? store.findTemplate(code) : null;
      },
      currentVersion: ({ code, currentVersion }) =>
        currentVersion === null ? null : store.findVersion({ code, number: currentVersion }),
      version: ({ code }, { number }) => store.findVersion({ code, number }),
      versions: async ({ code }, page) => orThrow(await findVersions(store, code, page)),
      publications: async ({ code }, page) => orThrow(await findPublications(store, code, page)),
      diff: async ({ code }, numbers) => {
        const differences = await diffVersions(store, code, numbers);
        return orThrow(differences);
      },
    },
    TemplateVersion: {
      template: templateOf,
      isPublished: async (version) => (await templateOf(version)).currentVersion === version.number,
      contents: (version) => store.findContents(version),
      content: async (version, { locale }) => {
        const [contents, wanted] = await Promise.all([
          store.findContents(version),
          locale ?? templateOf(version).then(({ defaultLocale }) => defaultLocale),
        ]);
        return contents.find((content) => content.locale.toLowerCase() === wanted.toLowerCase()) ?? null;
      },
      declaredVariables: ({ declared }) => declared,
      variables: async (version) => {
        const [contents, template] = await Promise.all([store.findContents(version), templateOf(version)]);
        return variablesOfVersion(template, contents);
      },
      faults: async (version) => {
        const [contents, template] = await Promise.all([store.findContents(version), templateOf(version)]);
        return faultsOfVersion(template, { contents, declared: version.declared });
      },
      missingLocales: async (version) => {
        const [contents, published, { defaultLocale }] = await Promise.all([
          store.findContents(version),
          store.findPublishedLocales(version.code),
          templateOf(version),
        ]);
        const missing = [defaultLocale, ...published].filter((tag) => !contents.some(({ locale }) => locale === tag));
        return [...new Set(missing)].sort();
      },
    },
  };
};
