import {
  analyzeSync,
  CaseTag,
  IfTag,
  AssignTag,
  Liquid,
  LiquidError,
  Token,
  UnlessTag,
  Value,
  type Context,
  type Template,
  type Variable,
} from 'liquidjs';
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
  // Templates read no files.
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

// liquidjs counts from the beginning of the text for every token, and a text of 256 KiB with many variables took half a minute.
let lineStarts: { input: string; starts: number[] } = { input: '', starts: [0] };
Token.prototype.getPosition = function () {
  if (lineStarts.input !== this.input) {
    const starts = [0];
    for (let at = this.input.indexOf('\n'); at !== -1; at = this.input.indexOf('\n', at + 1)) starts.push(at + 1);
    lineStarts = { input: this.input, starts };
  }
  const { starts } = lineStarts;
  let [low, high] = [0, starts.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((starts[middle] ?? 0) <= this.begin) low = middle;
    else high = middle - 1;
  }
  return [low + 1, this.begin - (starts[low] ?? 0) + 1];
};

/** `html` escapes every variable; `plain` doesn't. */
export type LiquidMode = 'html' | 'plain';

const engines = { plain: new Liquid(options), html: new Liquid({ ...options, outputEscape: 'escape' }) };
// What takes other files' texts would find nothing when it is rendered; so it is refused when it is written.
for (const engine of Object.values(engines))
  for (const name of ['include', 'render', 'layout', 'block']) delete engine.tags[name];
// A parsed text can take seventy times the room of the text.
const kept = { max: 1_000, maxSize: 4 * 1024 * 1024, sizeCalculation: (_: unknown, text: string) => text.length + 1 };
const parsed = {
  plain: new LRUCache<string, Template[]>(kept),
  html: new LRUCache<string, Template[]>(kept),
};

/** What is wrong with a Liquid text: one sentence, with the place in it; line and column count from 1. */
export type LiquidFault = { message: string; line: number | null; column: number | null };

/** Null when nothing is wrong. */
export function faultOfLiquid(text: string): LiquidFault | null {
  try {
    parse(text, 'plain');
    return null;
  } catch (error) {
    const [, line, column] = /line:(\d+), col:(\d+)/.exec(messageOf(error)) ?? [];
    return {
      message: `is not valid Liquid: ${messageOf(error)}`,
      line: line === undefined ? null : Number(line),
      column: column === undefined ? null : Number(column),
    };
  }
}

/** One use of a variable that whoever renders must give. */
export type LiquidVariable = {
  /** As the text spells it: `order.items[0].name`. */
  path: string;
  /** Its steps; of a step that is a variable itself, null. */
  segments: (string | number | null)[];
  line: number;
  column: number;
  /** False when `if`, `unless`, `case` or `default` stands before it, so that the text renders without it. */
  required: boolean;
};

/**
 * The variables a text uses, in the order of the text; what it assigns itself is left out. The body of `for` counts as reached.
 * @throws an Error for a text that faultOfLiquid finds fault with
 */
export function variablesOfLiquid(text: string): LiquidVariable[] {
  const templates = parse(text, 'plain');
  const placeOf = ({ location: { row, col } }: Variable) => `${row}:${col}`;
  const strict = analyzeSync([{ arguments: () => strictArguments(templates) } as unknown as Template]).variables;
  const strictPlaces = new Set(Object.values(strict).flat().map(placeOf));
  return Object.values(analyzeSync(templates, { partials: false }).globals)
    .flat()
    .map((variable) => ({
      path: variable.toString(),
      segments: variable.segments.map((segment) => (typeof segment === 'object' ? null : segment)),
      line: variable.location.row,
      column: variable.location.col,
      required: strictPlaces.has(placeOf(variable)),
    }))
    .sort((a, b) => a.line - b.line || a.column - b.column);
}

/** What is evaluated strictly, and whatever the variables are. */
function* strictArguments(templates: Template[]): Generator<Argument> {
  for (const template of templates) {
    const isCondition = CONDITIONS.includes(template.constructor);
    const isLenient = isCondition || template.constructor === AssignTag;
    for (const argument of template.arguments?.() ?? []) {
      if (argument instanceof Value) yield* strictPartsOf(argument, isLenient);
      else if (!isLenient) yield argument;
    }
    if (!isCondition) yield* strictArguments(childrenOf(template));
  }
}

const CONDITIONS: unknown[] = [CaseTag, IfTag, UnlessTag];

/** As `Value.prototype.value` above evaluates them. */
function* strictPartsOf({ initial, filters }: Value, isLenient: boolean): Generator<Argument> {
  const guard = filters.findLastIndex(({ name }) => name === 'default');
  if (guard === -1 && !isLenient) yield* initial.postfix as Argument[];
  for (const filter of filters.slice(Math.max(guard, 0)))
    for (const argument of filter.args) yield (Array.isArray(argument) ? argument[1] : argument) as Argument;
}

/** `children` is a generator that returns them; only partials, which there are none of, make it wait. */
function childrenOf(template: Template): Template[] {
  const children = template.children?.(false, true).next();
  return children?.done === true ? children.value : [];
}

type Argument = ReturnType<NonNullable<Template['arguments']>> extends Iterable<infer Item> ? Item : never;

export type Rendered =
  { kind: 'rendered'; text: string } | { kind: 'missing'; variable: string } | { kind: 'failed'; message: string };

/** Renders a text. What was parsed last is kept for the next time. */
export function renderLiquid(text: string, variables: Record<string, unknown>, mode: LiquidMode): Rendered {
  try {
    return { kind: 'rendered', text: engines[mode].renderSync(parse(text, mode), variables) as string };
  } catch (error) {
    const variable = /undefined variable: ([^,\n]+)/.exec(messageOf(error))?.[1];
    return variable === undefined ? { kind: 'failed', message: messageOf(error) } : { kind: 'missing', variable };
  }
}

function parse(text: string, mode: LiquidMode): Template[] {
  const template = parsed[mode].get(text) ?? engines[mode].parse(text);
  parsed[mode].set(text, template);
  return template;
}

const messageOf = (error: unknown) =>
  error instanceof LiquidError || error instanceof Error ? error.message : String(error);
