/**
 * Collects concurrent calls into one: while a batch is in flight the next one fills. A lone call goes out at once.
 * @param run answers the items of one batch, in order; when it rejects, every caller of that batch is rejected
 * @param options.maxItems the most items in one batch
 * @param options.maxInFlight batches at a time, 1 when left out
 * @param options.weigh with `maxWeight`: a batch ends before it gets heavier (one item always fits)
 */
export function createBatcher<Item, Result>(
  run: (items: Item[]) => Promise<Result[]>,
  options: { maxItems: number; maxInFlight?: number; weigh?: (item: Item) => number; maxWeight?: number },
): (item: Item) => Promise<Result> {
  const waiting: Waiting<Item, Result>[] = [];
  const { maxInFlight = 1 } = options;
  let inFlight = 0;
  let scheduled = false;

  const flush = () => {
    scheduled = false;
    if (inFlight >= maxInFlight || waiting.length === 0) return;
    inFlight += 1;
    void runOne(waiting.splice(0, sizeOfNext(waiting, options))).finally(() => {
      inFlight -= 1;
      flush();
    });
    flush();
  };

  const runOne = async (batch: Waiting<Item, Result>[]) => {
    try {
      const results = await run(batch.map(({ item }) => item));
      batch.forEach(({ resolve, reject }, index) => {
        if (index in results) resolve(results[index] as Result);
        else reject(new Error(`a batch of ${batch.length} was answered with ${results.length} results`));
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  };

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      if (scheduled) return;
      scheduled = true;
      // After the current turn, so that calls made together travel together.
      setImmediate(flush);
    });
}

function sizeOfNext<Item>(
  waiting: { item: Item }[],
  {
    maxItems,
    weigh = () => 0,
    maxWeight = Infinity,
  }: { maxItems: number; weigh?: (item: Item) => number; maxWeight?: number },
): number {
  let weight = 0;
  const tooHeavyAt = waiting.findIndex(({ item }) => (weight += weigh(item)) > maxWeight);
  return Math.min(maxItems, tooHeavyAt === -1 ? waiting.length : Math.max(1, tooHeavyAt));
}

type Waiting<Item, Result> = { item: Item; resolve: (result: Result) => void; reject: (error: unknown) => void };
