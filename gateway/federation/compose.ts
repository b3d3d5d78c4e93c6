import { readFile, writeFile } from 'node:fs/promises';
import { composeServices } from '@apollo/composition';
import * as independent from '@theguild/federation-composition';
import { diff } from '@graphql-inspector/core';
import {
  buildSchema,
  Kind,
  parse,
  print,
  visit,
  type DocumentNode,
  type FieldDefinitionNode,
  type GraphQLSchema,
  type InputValueDefinitionNode,
} from 'graphql';
import { breakingChanges } from './breaking-changes.ts';

/**
 * `npm run compose` writes supergraph.graphql and says which changes break clients. With `--check` it fails when the committed one is
 * stale, when a second, independent composer sees another graph, and when clients of the last release would break.
 */
const FILE = new URL('./supergraph.graphql', import.meta.url);
const SUBGRAPHS = ['user', 'template', 'notification'];

const isCheck = process.argv.includes('--check');
const services = await Promise.all(
  SUBGRAPHS.map(async (name) => ({
    name,
    // The gateway takes addresses from its environment; this one only names the service.
    url: `http://${name}`,
    typeDefs: tellDirectives(
      parse(await readFile(new URL(`../../subgraphs/${name}/schema.graphql`, import.meta.url), 'utf8')),
    ),
  })),
);
const supergraph = compose();

if (!isCheck) await writeFile(FILE, supergraph);
else if ((await readFile(FILE, 'utf8').catch(() => '')) !== supergraph)
  fail('gateway/federation/supergraph.graphql is stale: run "npm run compose" and commit it');

for (const difference of await differencesOfSecondComposer()) fail(`a second composer disagrees: ${difference}`);

const { since, changes, isRelease } = await breakingChanges(toApi(parse(supergraph)), toApi);
for (const change of changes) {
  const text = `${change} (breaks clients of ${since})`;
  if (isCheck && isRelease) fail(text);
  else console.log(text);
}

function compose(): string {
  const { supergraphSdl, errors } = composeServices(services);
  if (supergraphSdl === undefined)
    throw new Error(`the subgraphs don't compose:\n${errors?.map((error) => error.message).join('\n')}`);
  return `${supergraphSdl}\n`;
}

async function differencesOfSecondComposer(): Promise<string[]> {
  const composed = independent.composeServices(services);
  if (independent.compositionHasErrors(composed)) return composed.errors.map((error) => error.message);
  const differences = await diff(toApi(parse(supergraph)), toApi(parse(composed.supergraphSdl)));
  // What clients don't see: one of the two forgets the words of a directive.
  return differences.filter(({ path }) => path?.startsWith('@') !== true).map(({ message }) => message);
}

/** What clients see of a supergraph. */
function toApi(document: DocumentNode): GraphQLSchema {
  return buildSchema(print(independent.transformSupergraphToPublicSchema(document)));
}

/** Clients don't see directives, but descriptions: what a field requires, and what it or an argument costs, is said there. */
function tellDirectives(document: DocumentNode): DocumentNode {
  return visit(document, { FieldDefinition: { leave: tell }, InputValueDefinition: tell });
}

function tell<Node extends FieldDefinitionNode | InputValueDefinitionNode>(node: Node): Node | undefined {
  const valueOf = (directive: string) =>
    node.directives?.find(({ name }) => name.value === directive)?.arguments?.[0]?.value;
  const [requires, weight] = [valueOf('scope'), valueOf('cost')];
  const scopes =
    requires?.kind === Kind.LIST
      ? requires.values.flatMap((value) => (value.kind === Kind.STRING ? [value.value] : []))
      : [];
  const told = [
    ...(scopes.length > 0 ? [`Needs the scope${scopes.length > 1 ? 's' : ''} ${scopes.join(' and ')}.`] : []),
    ...(weight?.kind === Kind.INT ? [`Costs as much as ${weight.value} objects.`] : []),
  ];
  if (told.length === 0 || node.description === undefined) return undefined;
  return { ...node, description: { ...node.description, value: [node.description.value, ...told].join(' ') } };
}

function fail(message: string): void {
  console.error(message);
  process.exitCode = 1;
}
