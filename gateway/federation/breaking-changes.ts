import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { parse, type DocumentNode, type GraphQLSchema } from 'graphql';

/**
 * What would break clients of the last release (its tag `v…`), or before there is one, of the last commit. In a tree without history
 * there is nothing to compare with.
 * @param toApi what clients see of a supergraph
 */
export async function breakingChanges(
  now: GraphQLSchema,
  toApi: (supergraph: DocumentNode) => GraphQLSchema,
): Promise<{ since: string; isRelease: boolean; changes: string[] }> {
  const release = await git('describe', '--tags', '--abbrev=0', '--match', 'v[0-9]*');
  const since = release ?? 'HEAD';
  const before = await git('show', `${since}:gateway/federation/supergraph.graphql`);
  if (before === null) {
    console.log('there is no committed supergraph to compare with: nobody looked for breaking changes');
    return { since, isRelease: false, changes: [] };
  }
  const changes = await diff(toApi(parse(before)), now);
  return {
    since,
    isRelease: release !== null,
    changes: changes
      .filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking)
      .map(({ message }) => message),
  };
}

/** Null when git says no. */
const git = (...args: string[]): Promise<string | null> =>
  promisify(execFile)('git', args, { cwd: import.meta.dirname, maxBuffer: 64 * 1024 * 1024 }).then(
    ({ stdout }) => stdout.trim(),
    () => null,
  );
