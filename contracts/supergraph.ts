import { existsSync } from 'node:fs';
import { z } from 'zod';

/** What the gateway serves, where it is more than our own: a host application's subgraphs beside ours. */
export type Supergraph = {
  /** The file, which must hold our subgraphs too; null: our own. */
  path: string | null;
  /** The others' addresses, by the names that the file gives them. They are asked like ours: signed, and told who asks. */
  extraSubgraphs: Record<string, { url: string; secret: string }>;
};

/** `name=http://:secret@host:port`, several parted by commas. */
const extraSubgraphs = z
  .string()
  .default('')
  .transform((text, context): Supergraph['extraSubgraphs'] => {
    const pairs = text.split(',').filter((pair) => pair.trim() !== '');
    const parsed = pairs.map(parsePair);
    const names = new Set(parsed.map((entry) => entry?.[0]));
    if (parsed.every((entry) => entry !== null) && names.size === parsed.length) return Object.fromEntries(parsed);
    context.addIssue({
      code: 'custom',
      message:
        'must be name=http://:secret@host:port with a secret of at least 16 letters and digits, and a name that neither we nor another one has; several parted by commas',
    });
    return z.NEVER;
  });

export const supergraphVariables = {
  SUPERGRAPH_PATH: z.string().refine(existsSync, 'must name a file: compose the supergraph first').optional(),
  EXTRA_SUBGRAPHS: extraSubgraphs,
};

export const toSupergraph = (vars: z.infer<z.ZodObject<typeof supergraphVariables>>): Supergraph => ({
  path: vars.SUPERGRAPH_PATH ?? null,
  extraSubgraphs: vars.EXTRA_SUBGRAPHS,
});

function parsePair(pair: string): [name: string, service: Supergraph['extraSubgraphs'][string]] | null {
  const [, name = '', address = ''] = /^\s*([a-z][\w-]*)=(.+?)\s*$/i.exec(pair) ?? [];
  if (name === '' || OURS.includes(name) || !URL.canParse(address)) return null;
  const url = new URL(address);
  if (!['http:', 'https:'].includes(url.protocol) || !SECRET.test(url.password)) return null;
  return [name, { url: `${url.origin}${url.pathname}`.replace(/\/+$/, ''), secret: url.password }];
}

/** As it stands in a URL, without escapes. */
const SECRET = /^[\w.~-]{16,}$/;
const OURS = ['user', 'template', 'notification'];
