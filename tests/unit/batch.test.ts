import { describe, expect, test, vi } from 'vitest';
import { createBatcher, Overloaded } from '../../platform/batch.ts';

/** A batcher whose batches wait until the test lets them go. */
function createHeld(options: Parameters<typeof createBatcher<string, string>>[1]) {
  const batches: { items: string[]; answer: (results: string[]) => void; fail: (error: Error) => void }[] = [];
  const call = createBatcher<string, string>(
    (items) => new Promise((answer, fail) => void batches.push({ items, answer, fail })),
    options,
  );
  return { call, batches, itemsOf: () => batches.map(({ items }) => items) };
}

const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
const upper = (items: string[]) => items.map((item) => item.toUpperCase());

describe('grouping', () => {
  test('calls of one turn travel together, and each gets its own answer', async () => {
    const seen: string[][] = [];
    const call = createBatcher(
      async (items: string[]) => {
        seen.push(items);
        return upper(items);
      },
      { maxItems: 10 },
    );
    expect(await Promise.all([call('a'), call('b'), call('c')])).toEqual(['A', 'B', 'C']);
    expect(await call('d')).toBe('D');
    expect(seen).toEqual([['a', 'b', 'c'], ['d']]);
  });

  test('while one batch is in flight the next one fills', async () => {
    const { call, batches, itemsOf } = createHeld({ maxItems: 10 });
    const first = call('a');
    await turn();
    const others = [call('b'), call('c')];
    await turn();
    others.push(call('d'));
    await turn();
    expect(itemsOf()).toEqual([['a']]);
    batches[0]?.answer(['A']);
    expect(await first).toBe('A');
    await turn();
    expect(itemsOf()).toEqual([['a'], ['b', 'c', 'd']]);
    batches[1]?.answer(['B', 'C', 'D']);
    expect(await Promise.all(others)).toEqual(['B', 'C', 'D']);
  });

  test('with several in flight, a full batch does not wait for the one before', async () => {
    const { call, batches, itemsOf } = createHeld({ maxItems: 1, maxInFlight: 2 });
    const calls = [call('a'), call('b'), call('c')];
    await turn();
    expect(itemsOf()).toEqual([['a'], ['b']]);
    batches[1]?.answer(['B']);
    expect(await calls[1]).toBe('B');
    await turn();
    expect(itemsOf()).toEqual([['a'], ['b'], ['c']]);
    batches[0]?.answer(['A']);
    batches[2]?.answer(['C']);
    expect(await Promise.all(calls)).toEqual(['A', 'B', 'C']);
  });

  test.each<[string, Parameters<typeof createBatcher<string, string>>[1], string[], string[][]]>([
    ['at most so many items', { maxItems: 2 }, ['a', 'b', 'c', 'd', 'e'], [['a', 'b'], ['c', 'd'], ['e']]],
    ['at most so much weight', weighing(5), ['aa', 'bbb', 'c', 'dddd', 'e'], [['aa', 'bbb'], ['c', 'dddd'], ['e']]],
    [
      'one that is too heavy goes alone',
      weighing(3),
      ['aaaaaaa', 'b', 'cccc', 'd'],
      [['aaaaaaa'], ['b'], ['cccc'], ['d']],
    ],
    [
      'whichever bound comes first',
      { ...weighing(4), maxItems: 2 },
      ['a', 'b', 'c', 'ddd'],
      [
        ['a', 'b'],
        ['c', 'ddd'],
      ],
    ],
  ])('%s', async (_, options, items, batches) => {
    const seen: string[][] = [];
    const call = createBatcher(async (batch: string[]) => {
      seen.push(batch);
      return upper(batch);
    }, options);
    expect(await Promise.all(items.map(call))).toEqual(upper(items));
    expect(seen).toEqual(batches);
  });
});

describe('errors', () => {
  test('a batch that fails rejects its own callers, and the next one runs', async () => {
    const { call, batches } = createHeld({ maxItems: 2 });
    const calls = [call('a'), call('b'), call('c')];
    const outcomes = Promise.allSettled(calls);
    await turn();
    batches[0]?.fail(new Error('away'));
    await turn();
    batches[1]?.answer(['C']);
    expect(await outcomes).toEqual([
      { status: 'rejected', reason: new Error('away') },
      { status: 'rejected', reason: new Error('away') },
      { status: 'fulfilled', value: 'C' },
    ]);
  });

  test('a function that throws at once rejects too', async () => {
    const call = createBatcher<string, string>(
      () => {
        throw new Error('broken');
      },
      { maxItems: 2 },
    );
    await expect(call('a')).rejects.toThrow('broken');
    await expect(call('b')).rejects.toThrow('broken');
  });

  test('an answer that is too short rejects those it forgot, and only those', async () => {
    const call = createBatcher(async (items: string[]) => upper(items.slice(0, 1)), { maxItems: 5 });
    const [first, second] = await Promise.allSettled([call('a'), call('b')]);
    expect(first).toEqual({ status: 'fulfilled', value: 'A' });
    expect(second).toMatchObject({
      status: 'rejected',
      reason: { message: 'a batch of 2 was answered with 1 results' },
    });
  });

  test('undefined and null are answers', async () => {
    const call = createBatcher(async (items: string[]) => items.map((item) => (item === 'a' ? undefined : null)), {
      maxItems: 5,
    });
    expect(await Promise.all([call('a'), call('b')])).toEqual([undefined, null]);
  });
});

describe('more calls than can be answered', () => {
  test('than may wait are refused at once, and the others answered', async () => {
    const { call, batches } = createHeld({ maxItems: 1, maxWaiting: 2 });
    const first = call('a');
    await turn();
    const [second, third] = [call('b'), call('c')];
    await expect(call('d')).rejects.toThrow(Overloaded);
    for (const answer of ['A', 'B', 'C']) {
      batches.at(-1)?.answer([answer]);
      await turn();
    }
    expect(await Promise.all([first, second, third])).toEqual(['A', 'B', 'C']);
    const next = call('e');
    await turn();
    batches.at(-1)?.answer(['E']);
    expect(await next).toBe('E');
  });

  test('that wait too long are given up, the oldest first, while a batch that has begun is waited for', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    try {
      const { call, batches, itemsOf } = createHeld({ maxItems: 2, maxWaitMs: 100 });
      const begun = call('a');
      await turn();
      const outcomes = Promise.allSettled([call('b'), call('c')]);
      vi.advanceTimersByTime(60);
      const late = call('d');
      vi.advanceTimersByTime(40);
      expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
      batches[0]?.answer(['A']);
      expect(await begun).toBe('A');
      await turn();
      batches[1]?.answer(['D']);
      expect(await late).toBe('D');
      expect(itemsOf()).toEqual([['a'], ['d']]);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});

function weighing(maxWeight: number) {
  return { maxItems: 100, weigh: (item: string) => item.length, maxWeight };
}
