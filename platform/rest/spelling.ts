/** Objects under these keys belong to the caller: their keys are never respelled. */
const OPAQUE = new Set(['variables', 'metadata', 'data', 'detail']);

/** Keys to camelCase, at every depth but inside opaque objects. */
export const toCamelKeys = (value: unknown): unknown => mapKeys(value, toCamel);

/** Keys to snake_case, at every depth but inside opaque objects. */
export const toSnakeKeys = (value: unknown): unknown => mapKeys(value, toSnake);

/** A field's path in snake_case: `templateCode` → `template_code`, `variables.firstName` stays. */
export function toSnakePath(path: string): string {
  const segments = path.split('.');
  const opaqueAt = segments.findIndex((segment) => OPAQUE.has(segment));
  return segments.map((segment, index) => (opaqueAt !== -1 && index > opaqueAt ? segment : toSnake(segment))).join('.');
}

function mapKeys(value: unknown, spell: (key: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => mapKeys(item, spell));
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [spell(key), OPAQUE.has(key) ? item : mapKeys(item, spell)]),
  );
}

const toCamel = (key: string) => key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** A language tag, such as the de-AT of `contents.de-AT.email`, is no name of ours. */
const toSnake = (key: string) =>
  key.includes('-') ? key : key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
