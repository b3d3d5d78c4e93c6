import { DateTimeResolver, JSONObjectResolver } from 'graphql-scalars';
import { orThrow } from '../../platform/refusal.ts';
import { requireScope } from '../../platform/require-scope.ts';
import { createTemplate } from './create-template.ts';
import type { Resolvers } from './generated/graphql.ts';
import type { TemplateStore } from './store.ts';

export const createResolvers = ({ store }: { store: TemplateStore }): Resolvers => ({
  DateTime: DateTimeResolver,
  JSONObject: JSONObjectResolver,
  Query: {
    template: (_, { code }, { viewer }) => {
      requireScope(viewer, 'templates:read');
      return store.findTemplate(code);
    },
  },
  Mutation: {
    createTemplate: async (_, { input }, { viewer }) => {
      requireScope(viewer, 'templates:write');
      return orThrow(await createTemplate(store, input, viewer.id));
    },
  },
  Template: {
    __resolveReference: ({ code }, { viewer }) => {
      requireScope(viewer, 'templates:read');
      return store.findTemplate(code);
    },
    currentVersion: ({ code, currentVersion }) =>
      currentVersion === null ? null : store.findVersion(code, currentVersion),
    version: ({ code }, { number }) => store.findVersion(code, number),
  },
  TemplateVersion: {
    content: ({ contents, template }, { locale }) =>
      contents.find((content) => content.locale === (locale ?? template.defaultLocale)) ?? null,
  },
});
