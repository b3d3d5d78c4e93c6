import { Liquid, LiquidError, Value, type Context, type Template } from 'liquidjs';
import { LRUCache } from 'lru-cache';

const limits = {
  /** Characters of one text. */
  parseLimit: 512 * 1024,
  /** Milliseconds of one rendering. */
  renderLimit: 100,
  /** Bytes, about, that one rendering may allocate. */
  memoryLimit: 8 * 1024 * 1024,
};

const options = {
  ...limits,
  // A variable that is neither given, nor guarded by `if` or `default`, is an error.
  strictVariables: true,
  lenientIf: true,
  strictFilters: true,
  ownPropertyOnly: true,
  // include, render and layout find nothing: templates read no files.
  templates: {},
};

// liquidjs takes `default` for a guard only where it is the first filter; here it guards all that stands before it.
const { value: evaluate } = Value.prototype;
Value.prototype.value = function* (this: Value, context: Context, lenient?: boolean) {
  const guard = this.filters.findLastIndex(({ name }) => name === 'default');
  if (guard === -1) return yield* evaluate.call(this, context, lenient);
  const strict = context.strictVariables;
  context.strictVariables = false;
  let value: unknown = yield this.initial.evaluate(context, true);
  for (const filter of this.filters.slice(0, guard)) value = yield filter.render(value, context);
  context.strictVariables = strict;
  for (const filter of this.filters.slice(guard)) value = yield filter.render(value, context);
  return value;
};

/** `html` escapes every variable; `plain` doesn't. */
export type LiquidMode = 'html' | 'plain';

const engines = { plain: new Liquid(options), html: new Liquid({ ...options, outputEscape: 'escape' }) };
const parsed = {
  plain: new LRUCache<string, Template[]>({ max: 1_000 }),
  html: new LRUCache<string, Template[]>({ max: 1_000 }),
};

/** What is wrong with a Liquid text, with line and column; null when nothing is. */
export function faultOfLiquid(text: string): string | null {
  try {
    engines.plain.parse(text);
    return null;
  } catch (error) {
    return `is not valid Liquid: ${messageOf(error)}`;
  }
}

export type Rendered =
  { kind: 'rendered'; text: string } | { kind: 'missing'; variable: string } | { kind: 'failed'; message: string };

/** Renders a text. A parsed text is kept for the next time. */
export function renderLiquid(text: string, variables: Record<string, unknown>, mode: LiquidMode): Rendered {
  const engine = engines[mode];
  try {
    const template = parsed[mode].get(text) ?? engine.parse(text);
    parsed[mode].set(text, template);
    return { kind: 'rendered', text: engine.renderSync(template, variables) as string };
  } catch (error) {
    const variable = /undefined variable: ([^,\n]+)/.exec(messageOf(error))?.[1];
    return variable === undefined ? { kind: 'failed', message: messageOf(error) } : { kind: 'missing', variable };
  }
}

const messageOf = (error: unknown) =>
  error instanceof LiquidError || error instanceof Error ? error.message : String(error);
