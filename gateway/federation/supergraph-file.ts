import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { SupergraphSdlHook } from '@apollo/gateway';
import { Kind, parse } from 'graphql';
import { toReason } from '../../platform/log-on-change.ts';
import type { Logger } from '../../platform/logger.ts';

const LOOK_EVERY_MS = 1_000;

export type SupergraphFile = {
  /** What @apollo/gateway takes for `supergraphSdl`. */
  hook: SupergraphSdlHook;
  /** What is served, and why the file is not when it isn't. */
  state(): { sha256: string; loaded_at: string; refused: string | null };
};

/**
 * The supergraph from its file. A running gateway takes a new one within a second or two; a bad one, or none, leaves the old one
 * served, and the log says why. The file is looked at, not watched: so renames, links and network disks all work.
 * @param subgraphs.known those that have an address; a file that names another one is bad
 * @param subgraphs.needed those that it must name
 * @param check throws for one that must not be served
 */
export function openSupergraphFile(
  path: URL | string,
  subgraphs: { known: readonly string[]; needed: readonly string[] },
  check: (sdl: string) => void,
  log: Logger,
): SupergraphFile {
  let served = { sha256: '', loaded_at: '' };
  let refused: { reason: string; stamp: string } | null = null;
  let seen = '';

  const hook: SupergraphSdlHook = async ({ update }) => {
    const supergraphSdl = await readFile(path, 'utf8');
    requireSubgraphs(supergraphSdl, subgraphs);
    check(supergraphSdl);
    served = { sha256: digestOf(supergraphSdl), loaded_at: new Date().toISOString() };
    seen = await stampOf(path);

    const refuse = (reason: string, stamp: string) => {
      if (refused?.reason !== reason || refused.stamp !== stamp)
        log.error({ path: String(path), reason }, 'the supergraph file is bad: the one before is still served');
      refused = { reason, stamp };
    };
    const look = async () => {
      const stamp = await stampOf(path);
      // Written a moment ago, it may not be whole; the next look sees it the same.
      const isSettled = stamp === seen;
      seen = stamp;
      if (!isSettled || refused?.stamp === stamp) return;
      try {
        const sdl = await readFile(path, 'utf8');
        const sha256 = digestOf(sdl);
        if (sha256 !== served.sha256) {
          requireSubgraphs(sdl, subgraphs);
          check(sdl);
          update(sdl);
          served = { sha256, loaded_at: new Date().toISOString() };
          log.info({ path: String(path), sha256 }, 'a new supergraph is served');
        }
        refused = null;
      } catch (error) {
        refuse(toReason(error), stamp);
      }
    };

    let looking = Promise.resolve();
    const timer = setInterval(() => {
      looking = looking.then(look).catch((error: unknown) => refuse(toReason(error), seen));
    }, LOOK_EVERY_MS);
    return {
      supergraphSdl,
      cleanup: async () => {
        clearInterval(timer);
        await looking;
      },
    };
  };

  return { hook, state: () => ({ ...served, refused: refused?.reason ?? null }) };
}

/** Changes with the file's content; 'none' when there is no file. */
const stampOf = (path: URL | string) =>
  stat(path).then(
    ({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`,
    () => 'none',
  );

function requireSubgraphs(sdl: string, { known, needed }: Parameters<typeof openSupergraphFile>[1]): void {
  const named = namesIn(sdl);
  const unknown = named.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`it names a subgraph that has no address: ${unknown}; EXTRA_SUBGRAPHS must have it`);
  const missing = needed.filter((name) => !named.includes(name));
  // Something that is no supergraph at all is refused by whoever reads it, in better words.
  if (named.length > 0 && missing.length > 0)
    throw new Error(`it lacks ${missing.join(' and ')}: compose it of Herald's own subgraphs and the others`);
}

/** Of its subgraphs. */
const namesIn = (sdl: string): string[] =>
  parse(sdl)
    .definitions.flatMap((definition) =>
      definition.kind === Kind.ENUM_TYPE_DEFINITION && definition.name.value === 'join__Graph'
        ? (definition.values ?? [])
        : [],
    )
    .flatMap(({ directives = [] }) => directives.flatMap((directive) => directive.arguments ?? []))
    .flatMap(({ name, value }) => (name.value === 'name' && value.kind === Kind.STRING ? [value.value] : []));

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');
