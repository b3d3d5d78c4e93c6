import { refuse, type Refusal } from './refusal.ts';

/** More than anybody's data needs, and so little that no walk through it, ours or JSON's own, runs out of stack. */
export const MAX_DEPTH = 100;

/**
 * Refuses JSON that is nested too deep, naming the field it is in: the path up to the first key that is not a place in a list.
 * It may not recurse itself.
 */
export function refuseTooDeep(json: object): Refusal | null {
  const waiting: Place[] = [{ value: json, depth: 0, field: '', isNamed: false }];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const { value, depth, field, isNamed } = place;
    if (depth > MAX_DEPTH) {
      const what = field === '' ? 'the body' : field;
      return refuse('BAD_USER_INPUT', `${what} must not be nested deeper than ${MAX_DEPTH} levels`, field, 'INVALID');
    }
    for (const [key, item] of Object.entries(value)) {
      if (!isObject(item)) continue;
      const path = field === '' ? key : `${field}.${key}`;
      waiting.push({
        value: item,
        depth: depth + 1,
        field: isNamed ? field : path,
        isNamed: isNamed || !Array.isArray(value),
      });
    }
  }
  return null;
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

type Place = { value: object; depth: number; field: string; isNamed: boolean };
