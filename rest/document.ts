import { readFileSync } from 'node:fs';
import type { Tag } from './table.ts';

/** The paths of a document, and in them the operations. */
export type OpenApiDocument = {
  tags: { name: string }[];
  paths: Record<string, Record<string, { tags: string[] }>>;
} & Record<string, unknown>;

/** The committed document (`npm run openapi`), of it what a port serves. */
export function documentOf(tags: readonly Tag[]): OpenApiDocument {
  const whole = JSON.parse(readFileSync(new URL('./openapi.json', import.meta.url), 'utf8')) as OpenApiDocument;
  const isServed = ({ tags: [tag] }: { tags: string[] }) => tags.some((served) => served === tag);
  return {
    ...whole,
    tags: whole.tags.filter(({ name }) => tags.some((served) => served === name)),
    paths: Object.fromEntries(Object.entries(whole.paths).filter(([, path]) => Object.values(path).some(isServed))),
  };
}
