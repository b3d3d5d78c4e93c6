// What the three schema.graphql must look like, so that a stranger can use the graph by its descriptions alone. A configuration
// of its own beside eslint.config.js: its rules fit no TypeScript, and it composes the subgraphs, which no editor should wait for.
import { composeServices } from '@apollo/composition';
import graphqlEslint from '@graphql-eslint/eslint-plugin';
import { parse, printSchema, Source } from 'graphql';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const SCHEMAS = 'subgraphs/*/schema.graphql';

const rules = {
  'require-description': [
    'error',
    { types: true, FieldDefinition: true, InputValueDefinition: true, EnumValueDefinition: true },
  ],
  'no-hashtag-description': 'error',
  'description-style': ['error', { style: 'inline' }],
  'naming-convention': [
    'error',
    {
      types: 'PascalCase',
      FieldDefinition: 'camelCase',
      InputValueDefinition: 'camelCase',
      EnumValueDefinition: 'UPPER_CASE',
      // A filter says which, an input says what.
      InputObjectTypeDefinition: { style: 'PascalCase', requiredPattern: /(Input|Filter)$/ },
      EnumTypeDefinition: { style: 'PascalCase', forbiddenPatterns: [/Enum$/] },
      UnionTypeDefinition: { style: 'PascalCase', forbiddenPatterns: [/Union$/] },
      InterfaceTypeDefinition: { style: 'PascalCase', forbiddenPatterns: [/Interface$/] },
      'ObjectTypeDefinition[name.value!=/^(Query|Mutation|Subscription)$/]': {
        style: 'PascalCase',
        forbiddenPatterns: [/(Type|Object|Input|Response)$/],
      },
      'FieldDefinition[parent.name.value=Query]': {
        style: 'camelCase',
        forbiddenPatterns: [/^(get|query|find|list)[A-Z]/, /Query$/],
      },
      'FieldDefinition[parent.name.value=Mutation]': { style: 'camelCase', forbiddenPatterns: [/^mutat/, /Mutation$/] },
    },
  ],
  'relay-arguments': ['error', { includeBoth: false }],
  'relay-connection-types': 'error',
  'relay-edge-types': [
    'error',
    { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false },
  ],
  'relay-page-info': 'error',
  'require-deprecation-reason': 'error',
  'unique-enum-value-names': 'error',
  'unique-field-definition-names': 'error',
  'unique-type-names': 'error',
};

export default [
  {
    files: [SCHEMAS],
    languageOptions: {
      parser: graphqlEslint.parser,
      // Of all subgraphs together, and with what is @inaccessible: a type may be reached only from there.
      parserOptions: { schemaSdl: composeSchema() },
    },
    plugins: { '@graphql-eslint': graphqlEslint },
    rules: Object.fromEntries(Object.entries(rules).map(([name, setting]) => [`@graphql-eslint/${name}`, setting])),
  },
];

function composeSchema() {
  const services = globSync(SCHEMAS, { cwd: import.meta.dirname }).map((file) => {
    const text = readFileSync(join(import.meta.dirname, file), 'utf8');
    return { name: basename(dirname(file)), url: 'http://here', typeDefs: parse(new Source(text, file)) };
  });
  const { schema, errors } = composeServices(services);
  if (!schema) throw new Error(`The subgraphs don't compose:\n${errors?.map(({ message }) => message).join('\n')}`);
  return printSchema(schema.toGraphQLJSSchema());
}
